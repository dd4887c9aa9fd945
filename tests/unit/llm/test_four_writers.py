"""Four processes write to one store at once: nothing lost, nothing torn, no file opened twice, no lock.

What Python itself reports (audit events); `tests/strace` has the same from the kernel's side.
"""

import json
import os
from pathlib import Path

from tests.unit.llm.fake_llm import FakeServer
from tests.unit.llm.forked_writer import Writer
from tests.unit.llm.four_writers import ROWS, STARTS, check_answers, check_files, nonce
from tests.unit.llm.store_writer import LOCKS

WRITING = os.O_WRONLY | os.O_RDWR


def test_no_segment_is_opened_twice_and_nothing_is_locked(server: FakeServer, tmp_path: Path) -> None:
    store = tmp_path / "calls"
    server.handler = nonce
    writers = [
        Writer(server.url, str(store), first, ROWS, str(tmp_path / f"notes-{number}")).start()
        for number, first in enumerate(STARTS)
    ]
    check_answers(server, store, [answer for writer in writers for answer in writer.finish()])
    assert [writer.status for writer in writers] == [0, 0, 0, 0]
    notes = [json.loads(line) for path in tmp_path.glob("notes-*") for line in path.read_text().splitlines()]
    assert [note for note in notes if note[0].startswith(LOCKS)] == []
    assert {event for event, _, _ in notes} <= {"open", "os.rename", "os.link"}
    assert all(places[1].endswith(".chosen") for event, places, _ in notes if event == "os.link")
    opened = [(places[0], flags) for event, places, flags in notes if event == "open"]
    written = [path for path, flags in opened if flags & WRITING]
    assert all(flags & os.O_EXCL for path, flags in opened if path.endswith(".jsonl") and flags & WRITING)
    check_files(store, written, [places[1] for event, places, _ in notes if event == "os.rename"])
