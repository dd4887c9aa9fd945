"""Four processes that write to one store at once, and what must hold for the files that they leave."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from finetrail.calls.store import CallStore
from tests.unit.llm.fake_llm import FakeServer, asked, completion, make_request

WRITER = Path(__file__).with_name("store_writer.py")
STARTS = (0, 100, 200, 300)
ROWS = 150  # each writer shares fifty rows with the next
KEYS = STARTS[-1] + ROWS


async def nonce(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """Answer each call with words of its own."""
    return completion(f"{asked(body)}: call {number}")


def write_at_once(server: FakeServer, store: Path, around: Callable[[int], tuple[list[str], list[str]]]) -> None:
    """Run the writers together and compare what they gave out with what the store holds.

    Args:
        server: answers them.
        store: the folder that all write to.
        around: what stands before and behind the command line of a writer, by its number.
    """
    server.handler = nonce
    writers = []
    for number, first in enumerate(STARTS):
        before, behind = around(number)
        command = [*before, sys.executable, str(WRITER), server.url, str(store), str(first), str(ROWS), *behind]
        writers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    try:
        printed = [writer.communicate(timeout=120)[0] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    given_out = [json.loads(line) for text in printed for line in text.splitlines()]
    assert len(given_out) == len(STARTS) * ROWS
    with CallStore(store) as calls:
        report, stats = calls.verify(), calls.stats()
        assert (report.torn, report.damaged) == ([], [])
        assert stats.keys == KEYS
        assert stats.calls == report.calls == len(server.bodies), "nothing that was paid is lost"
        for row, text, digest in given_out:
            kept = calls.get(make_request(row.removeprefix("row-")).key, digest)
            assert kept is not None
            assert kept.answer["text"] == text


def check_files(store: Path, written: list[str], renamed: list[str]) -> None:
    """Check that each file of the store was opened for writing once, and each index put in its place once.

    Args:
        store: the folder.
        written: the path of each opening for writing, by whichever process.
        renamed: the target of each renaming.
    """
    assert len(written) == len(set(written)), "a file was opened for writing twice"
    segments = sorted(map(str, store.glob("*.jsonl")))
    assert len(segments) > 2 * len(STARTS)
    assert sorted(path for path in written if path.endswith(".jsonl")) == segments
    assert sorted(renamed) == [path.replace(".jsonl", ".idx") for path in segments]
    others = [path for path in written if not path.endswith((".jsonl", ".tmp"))]
    assert others == [], "an index is never written in place"
    assert {path.suffix for path in store.iterdir()} <= {".jsonl", ".idx", ".chosen"}
