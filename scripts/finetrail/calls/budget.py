"""The budget of a run: how much its jobs may pay together, and what they have paid.

Each job appends a line for every reply that it pays to a file of its own, under a folder that the jobs of one
run share, and sums the others' files. So no lock is needed, and what a killed job paid still counts.
"""

import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import temporary_name

REFRESH_S = 0.05
SYNC_S = 1.0
SUFFIX = ".paid"


class Spent(NamedTuple):
    """Replies that were paid, and what for, in US dollars."""

    calls: int
    usd: float


class Budget:
    """What the jobs of one run may pay together.

    No call starts once a bound is reached. What is in flight then comes in and is kept, so that a bound is exceeded by
    the calls in flight, and no more. Other jobs' payments are known after 0.05 s on the same file system, after
    about a second on a network file system.

    Args:
        usd: bound in US dollars; None for none.
        calls: bound on paid replies; None for none.
        folder: where the jobs of the run note what they pay; None where this process pays alone.
    """

    def __init__(self, *, usd: float | None = None, calls: int | None = None, folder: Path | None = None) -> None:
        self.usd = usd
        self.calls = calls
        self._folder = folder
        self._lock = threading.Lock()
        self._own = Spent(0, 0.0)
        self._others: dict[Path, tuple[int, Spent]] = {}
        self._path: Path | None = None
        self._descriptor: int | None = None
        self._refreshed = self._synced = float("-inf")
        self._over = False

    def pay(self, usd: float) -> None:
        """Note one paid reply.

        Raises:
            FinetrailError: the note cannot be written.
        """
        with self._lock:
            self._own = Spent(self._own.calls + 1, self._own.usd + usd)
            if self._folder is None:
                return
            try:
                self._note(self._folder, usd)
            except OSError as error:
                raise FinetrailError(
                    f"what this run has paid cannot be noted: {error.strerror}",
                    where=str(self._folder),
                    hint="Free space there, then run again: answers kept so far stay",
                ) from error

    def _note(self, folder: Path, usd: float) -> None:
        if self._descriptor is None:
            folder.mkdir(parents=True, exist_ok=True)
            self._path = temporary_name(folder / "job").with_suffix(SUFFIX)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        os.write(self._descriptor, f"{usd!r}\n".encode("ascii"))
        if (now := time.monotonic()) - self._synced >= SYNC_S:
            os.fsync(self._descriptor)  # other nodes see appended bytes only then
            self._synced = now

    def close(self) -> None:
        """End this job's file."""
        with self._lock:
            if self._descriptor is not None:
                os.fsync(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = None

    def spent(self) -> Spent:
        """Return what this job and the others have paid."""
        with self._lock:
            return self._sum()

    def is_spent(self) -> bool:
        """Say whether no further call may start; once said, it stays so."""
        with self._lock:
            if not self._over:
                paid = self._sum()
                over_usd = self.usd is not None and paid.usd >= self.usd
                self._over = over_usd or (self.calls is not None and paid.calls >= self.calls)
            return self._over

    def bounds(self) -> str:
        """Render the bounds by their keys."""
        keys = {"llm.budget_usd": self.usd, "llm.budget_calls": self.calls}
        return " and ".join(f"{key}: {bound:g}" for key, bound in keys.items() if bound is not None)

    def _sum(self) -> Spent:
        now = time.monotonic()
        if self._folder is not None and now - self._refreshed >= REFRESH_S:
            self._refreshed = now
            for path in self._folder.glob(f".*{SUFFIX}"):
                if path != self._path:
                    self._read_on(path)
        known = [self._own, *(spent for _, spent in self._others.values())]
        return Spent(sum(spent.calls for spent in known), sum(spent.usd for spent in known))

    def _read_on(self, path: Path) -> None:
        """Add what another job has noted since the last look; a line half written waits for the next one."""
        offset, (calls, usd) = self._others.get(path, (0, Spent(0, 0.0)))
        with path.open("rb") as stream:
            stream.seek(offset)
            whole = stream.read().rpartition(b"\n")[0]
        if whole:
            lines = whole.split(b"\n")
            self._others[path] = offset + len(whole) + 1, Spent(calls + len(lines), usd + sum(map(float, lines)))
