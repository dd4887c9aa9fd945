"""Runs the engine over some rows and writes to a store that others write to; with a last argument, notes what it opens.

Usage: python store_writer.py URL STORE FIRST ROWS [NOTES]
"""

import json
import os
import sys
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


def main() -> None:
    """Ask about the rows and print their answers."""
    from finetrail.calls.store import CallStore
    from finetrail.llm.endpoints import Endpoint
    from finetrail.llm.engine import Engine
    from finetrail.llm.request import ChatAnswer
    from tests.unit.llm.fake_llm import make_request

    url, folder, first, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    if len(sys.argv) > 5:
        note_events(str(folder), sys.argv[5])
    endpoint = Endpoint("fake", "openai", url, max_concurrency=CONCURRENCY)
    with CallStore(folder, segment_bytes=SEGMENT_BYTES) as store, Engine([endpoint], store) as engine:
        for answer in engine.run(make_request(str(number)) for number in range(first, first + rows)):
            assert isinstance(answer, ChatAnswer)
            print(json.dumps([answer.row_id, answer.text, answer.answer_sha256]), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
