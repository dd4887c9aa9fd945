"""Runs the engine over some rows and writes to a store that others write to; with a last argument, notes what it opens.

Usage: python store_writer.py URL STORE FIRST ROWS [NOTES]
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SEGMENT_BYTES = 20_000
CONCURRENCY = 8
LOCKS = ("fcntl.", "sqlite3.", "msvcrt.")
FILES = ("open", "os.rename", "os.link", "os.truncate")


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


def main() -> None:
    """Ask about the rows and print their answers."""
    url, store, first, rows = sys.argv[1:5]
    for answer in answers(url, store, int(first), int(rows), *sys.argv[5:]):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
