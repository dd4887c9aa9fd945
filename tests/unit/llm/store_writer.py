"""Runs the engine over some rows and writes to a store that others may write to, in a process of its own.

Usage: python store_writer.py URL STORE FIRST ROWS [NOTES]: prints the answers; notes what it opens.
A test forks such processes (`Writer`) from one that has imported the engine's client, which takes more than a second.
"""

import contextlib
import json
import multiprocessing
import os
import resource
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SEGMENT_BYTES = 20_000
CONCURRENCY = 8
LOCKS = ("fcntl.", "sqlite3.", "msvcrt.")
FILES = ("open", "os.rename", "os.link", "os.truncate")
PATIENCE_S = 120.0
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["openai", "aiohttp", "finetrail.llm.engine", "tests.unit.llm.fake_llm"])


def note_events(store: str, notes: str) -> None:
    """Append a line of JSON for each lock, and for each file of the store that is opened or renamed."""
    descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in FILES and not event.startswith(LOCKS):
            return
        places = [os.fsdecode(item) for item in arguments if isinstance(item, str | bytes | os.PathLike)]
        if event not in FILES or any(place.startswith(f"{store}{os.sep}") for place in places):
            flags = arguments[2] if event == "open" else 0
            os.write(descriptor, (json.dumps([event, places, flags]) + "\n").encode())

    sys.addaudithook(hook)


def answers(
    url: str, store: str, first: int, rows: int, notes: str | None = None, *, segment_bytes: int = SEGMENT_BYTES
) -> Iterator[list[str]]:
    """Ask about the rows; yield row, text and digest of each answer."""
    from finetrail.calls.store import CallStore
    from finetrail.llm.endpoints import Endpoint
    from finetrail.llm.engine import Engine
    from finetrail.llm.request import ChatAnswer
    from tests.unit.llm.fake_llm import make_request

    if notes is not None:
        note_events(store, notes)
    endpoint = Endpoint("fake", "openai", url, max_concurrency=CONCURRENCY)
    with CallStore(Path(store), segment_bytes=segment_bytes) as calls, Engine([endpoint], calls) as engine:
        for answer in engine.run(make_request(str(number)) for number in range(first, first + rows)):
            assert isinstance(answer, ChatAnswer)
            yield [answer.row_id, answer.text, answer.answer_sha256]


def _send(end: Connection, most_bytes: int | None, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Send the answers; last, what the engine said when it could not go on."""
    from finetrail.errors import FinetrailError

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


def main() -> None:
    """Ask about the rows and print their answers."""
    url, store, first, rows = sys.argv[1:5]
    for answer in answers(url, store, int(first), int(rows), *sys.argv[5:]):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
