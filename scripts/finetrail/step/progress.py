"""Progress of a long loop: what is done, the rate of late, and the time that is left."""

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHANGES_NO_RESULT = "It counts what was done and says how far that is; rows pass by it (`finetrail.step.step.Loop`)."
LATELY_S = 60.0
FEWEST_STEPS = 8
BLOCK_BYTES = 1 << 20


def format_seconds(seconds: float) -> str:
    """Render a duration as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count_lines(path: Path) -> int | None:
    """Count the lines of a file; None where it cannot be read."""
    try:
        with path.open("rb", buffering=0) as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(BLOCK_BYTES), b""))
    except OSError:
        return None


class Recent:
    """The rate of a growing count over the last minute, or over its last eight changes where these took longer.

    A count that stands still has a falling rate, so that a stall shows.

    Args:
        now: when the count was 0, in seconds of any clock.
    """

    def __init__(self, now: float) -> None:
        self._changes = deque([(now, 0)])

    def rate(self, count: int, now: float) -> float:
        """Return counts a second.

        Args:
            count: the count as it is now.
            now: the time, on the same clock.
        """
        changes = self._changes
        if count != changes[-1][1]:
            changes.append((now, count))
        while len(changes) > FEWEST_STEPS and now - changes[1][0] >= LATELY_S:
            changes.popleft()
        since, before = changes[0]
        return (count - before) / (now - since) if now > since else 0.0


@dataclass(frozen=True)
class Standing:
    """How far a loop is.

    Args:
        label: what is counted.
        done: how many are finished.
        total: how many there will be; None where that is not known.
        per_second: the rate of late.
        seconds_left: None where it cannot be told.
        is_estimate: whether `total` is one.
        rates: other rates, in words.
        notes: what else is worth a look, in words.
        llm: calls, tokens and money so far, as in the meta file; None where no model is asked.
    """

    label: str
    done: int
    total: int | None
    per_second: float
    seconds_left: float | None
    is_estimate: bool = False
    rates: str = ""
    notes: tuple[str, ...] = ()
    llm: dict[str, Any] | None = None

    def line(self) -> str:
        """Render one line of progress."""
        if self.total is None:
            counted, left = f"{self.done} done", ""
        else:
            counted = f"{self.done}/{'about ' if self.is_estimate else ''}{self.total}"
            left = ", time left unknown" if self.seconds_left is None else f", {format_seconds(self.seconds_left)} left"
        notes = "; " + ", ".join(self.notes) if self.notes else ""
        return f"{self.label}: {counted}, {self.per_second:.1f}/s{self.rates}{left}{notes}"

    def facts(self) -> dict[str, Any]:
        """Return what a heartbeat says of it."""
        return {
            "label": self.label,
            "done": self.done,
            "total": self.total,
            "total_is_estimate": self.is_estimate,
            "per_second": round(self.per_second, 3),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
        }


class Progress:
    """Counts finished items; `Pulse` reports them from a thread of its own.

    Args:
        label: what is counted.
        total: how many there will be, or the file whose lines they are (counted when first asked for); None
            where that is not known.
        ended: called when the loop is over.
    """

    def __init__(
        self, label: str, total: int | Path | None = None, ended: "Callable[[Progress], None] | None" = None
    ) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self._ended = ended
        self._recent = Recent(0.0)

    def begin(self, now: float) -> None:
        """Say when the loop begins, on the clock that `standing` will be asked by."""
        self._recent = Recent(now)

    def advance(self, count: int = 1) -> None:
        """Count finished items."""
        self.done += count

    def known_total(self) -> int | None:
        """Return how many there will be; None where that is not known."""
        if isinstance(self.total, os.PathLike):
            self.total = count_lines(self.total)
        return self.total

    def standing(self, now: float) -> Standing:
        """Return how far the loop is.

        Args:
            now: the time, on the clock of `begin`.
        """
        done, total = self.done, self.known_total()
        rate = self._recent.rate(done, now)
        left = None if total is None or rate <= 0 else max(0, total - done) / rate
        return Standing(self.label, done, total, rate, left)

    def close(self) -> None:
        """Say that the loop is over."""
        self.total = self.done
        if self._ended is not None:
            self._ended(self)
