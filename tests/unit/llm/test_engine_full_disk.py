"""Files may not grow: what was kept stays, what was not is asked again, and nothing else. Needs no rights."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.budget import Budget
from finetrail.calls.segment import SEGMENT_BYTES, StoredCall
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from tests.unit.llm.fake_llm import FakeServer, asked, completion
from tests.unit.llm.forked_writer import Writer
from tests.unit.llm.test_call_store import make_call

ROWS = 300


def run(server: FakeServer, folder: Path, most: int | None = None) -> list[Any]:
    """Run the engine in a process of its own, whose files may not grow beyond `most` bytes."""
    writer = Writer(server.url, str(folder), 0, ROWS, segment_bytes=SEGMENT_BYTES, most_bytes=most).start()
    given_out = writer.finish()
    assert writer.status == 0
    return given_out


def kept_calls(folder: Path) -> list[StoredCall]:
    with CallStore(folder) as store:
        return list(store.newest(ROWS))


# After some hundred, one, and no answer; and with room for the segment's first bytes only.
@pytest.mark.heavy
@pytest.mark.parametrize("most", [70_000, 1_000, 100, 0])
def test_after_space_is_freed_only_what_was_not_kept_is_asked_again(
    server: FakeServer, tmp_path: Path, most: int
) -> None:
    async def nonce(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion(f"{asked(body)}: call {number}")

    server.handler = nonce
    folder = tmp_path / "calls"
    *given_out, message = run(server, folder, most)
    assert message.startswith(f"{folder}: the call store cannot be written: File too large. Free space")
    assert len(server.bodies) <= ROWS
    kept = kept_calls(folder)
    texts = {call.paid["row"]: call.answer["text"] for call in kept}
    assert len(texts) == len(kept)
    assert {row: text for row, text, _ in given_out} == {row: texts[row] for row, _, _ in given_out}
    server.bodies.clear()

    first = run(server, folder)
    assert sorted(server.texts()) == sorted({str(number) for number in range(ROWS)} - {row[4:] for row in texts})
    assert {row: text for row, text, _ in first}.items() >= texts.items()
    server.bodies.clear()
    assert run(server, folder) == first
    assert server.bodies == []
    with CallStore(folder) as store:
        assert store.verify().damaged == []


def test_an_index_that_cannot_be_written_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers are on the disk by then."""

    def full(path: Path) -> Path:
        return path / "no" / "such" / "folder"

    monkeypatch.setattr("finetrail.rows.artifacts.temporary_name", full)
    calls = [make_call(number) for number in range(40)]
    with CallStore(tmp_path, segment_bytes=2000) as store:
        for call in calls:
            store.put(call)
    assert list(tmp_path.glob("*.idx")) == []
    with CallStore(tmp_path) as store:
        assert [store.get(call.key) for call in calls] == calls


def test_a_budget_that_cannot_be_noted_says_where(tmp_path: Path) -> None:
    (tmp_path / "spending").write_text("a file in the way")
    with pytest.raises(FinetrailError, match=r"spending: what this run has paid cannot be noted: File exists\. Free"):
        Budget(calls=3, folder=tmp_path / "spending").pay(0.1)
