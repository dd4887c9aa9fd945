"""The engine in a process of its own, which may be killed, or kept from writing."""

import contextlib
import resource
import threading
from multiprocessing.connection import Connection
from typing import Any

from finetrail.errors import FinetrailError
from tests.unit.forks import FORKS, PATIENCE_S
from tests.unit.llm.store_writer import answers


def _send(end: Connection, most_bytes: int | None, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Send the answers; last, what the engine said when it could not go on."""
    if most_bytes is not None:  # Python ignores the signal, so that writing fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        for answer in answers(*arguments, **options):
            end.send(answer)
    except FinetrailError as error:
        end.send(str(error))


class Writer:
    """A process that asks about some rows, and may be killed.

    Args:
        arguments, options: those of `answers`.
        most_bytes: files may not grow beyond; None for no limit.
    """

    def __init__(self, *arguments: Any, most_bytes: int | None = None, **options: Any) -> None:
        self._answers, self._end = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(target=_send, args=(self._end, most_bytes, arguments, options), daemon=True)
        self._has_started = threading.Event()

    def start(self) -> "Writer":
        """Begin."""
        self._process.start()
        self._end.close()  # else its end would not be seen here
        self._has_started.set()
        return self

    def kill(self) -> None:
        """Kill it, as soon as it can be; from any thread."""
        assert self._has_started.wait(PATIENCE_S)
        self._process.kill()

    def finish(self) -> list[Any]:
        """Return what it gave out, when it has come to its end, whatever that is."""
        given_out = []
        with contextlib.suppress(EOFError, OSError):  # the latter for half a message
            while self._answers.poll(PATIENCE_S):
                given_out.append(self._answers.recv())
        self._process.join(PATIENCE_S)
        self._process.kill()  # one that hangs
        return given_out

    @property
    def status(self) -> int | None:
        """Return its exit code; that of a killed one is below 0."""
        return self._process.exitcode
