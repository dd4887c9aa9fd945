"""Files may not grow: what was kept stays, what was not is asked again, and nothing else. Needs no rights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.budget import Budget
from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from tests.unit.llm.fake_llm import FakeServer, asked, completion
from tests.unit.llm.test_call_store import make_call

ROOT = Path(__file__).parents[3]
ROWS = 300
CONCURRENCY = 8

RUN = f"""
import json, resource, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from tests.unit.llm.fake_llm import make_request
from finetrail.errors import FinetrailError
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.calls.store import CallStore
most = int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # Python ignores the signal, so that writing fails
endpoint = Endpoint("fake", "openai", sys.argv[1], max_concurrency={CONCURRENCY})
try:
    with CallStore(Path(sys.argv[2])) as store, Engine([endpoint], store) as engine:
        for answer in engine.run(make_request(str(number)) for number in range({ROWS})):
            print(json.dumps([answer.row_id, answer.text]))
except FinetrailError as error:
    print(json.dumps(str(error)))
"""


def run(server: FakeServer, folder: Path, most: int = -1) -> list[Any]:
    command = [sys.executable, "-c", RUN, server.url, str(folder), str(ROOT), str(most)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ))
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def kept_calls(folder: Path) -> list[StoredCall]:
    with CallStore(folder) as store:
        return list(store.newest(ROWS))


# After some hundred, one, and no answer; and with room for the segment's first bytes only.
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
    assert dict(given_out) == {row: texts[row] for row, _ in given_out}
    server.bodies.clear()

    first = run(server, folder)
    assert sorted(server.texts()) == sorted({str(number) for number in range(ROWS)} - {row[4:] for row in texts})
    assert dict(first).items() >= texts.items()
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
