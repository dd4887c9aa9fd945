"""Four processes that write to one store at once, and what must hold for the files that they leave."""

from pathlib import Path
from typing import Any

from aiohttp import web

from finetrail.calls.store import CallStore
from tests.unit.llm.fake_llm import FakeServer, asked, completion, make_request

STARTS = (0, 100, 200, 300)
ROWS = 150  # each writer shares fifty rows with the next
KEYS = STARTS[-1] + ROWS


async def nonce(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """Answer each call with words of its own."""
    return completion(f"{asked(body)}: call {number}")


def check_answers(server: FakeServer, store: Path, given_out: list[list[str]]) -> None:
    """Compare what the writers gave out together with what the store holds."""
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
