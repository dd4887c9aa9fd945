"""Kill the engine's process in the middle of a run; go on; count what reached the server."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from finetrail.llm.store import CallStore
from tests.unit.llm.fake_llm import FakeServer, asked, completion

CONCURRENCY = 8
ROWS = 200

RUN = f"""
import json, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from tests.unit.llm.fake_llm import make_request
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.llm.store import CallStore
endpoint = Endpoint("fake", "openai", sys.argv[1], max_concurrency={CONCURRENCY})
with CallStore(Path(sys.argv[2])) as store, Engine([endpoint], store) as engine:
    for answer in engine.run(make_request(str(number)) for number in range({ROWS})):
        print(json.dumps([answer.row_id, answer.text, answer.answer_sha256]), flush=True)
print(json.dumps(["openai" in sys.modules, "asyncio.base_events" in sys.modules]))
"""


def start(server: FakeServer, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RUN, server.url, str(folder), str(Path(__file__).parents[3])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_runs_pay_for_no_more_than_the_calls_in_flight(server: FakeServer, tmp_path: Path) -> None:
    async def nonce(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.005)
        return completion(f"{asked(body)}: call {number}")

    server.handler = nonce
    kills = 0
    for lines_before_kill in (3, 60):
        process = start(server, tmp_path / "calls")
        assert process.stdout is not None
        for _ in range(lines_before_kill):
            assert process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        kills += 1
    first, _ = start(server, tmp_path / "calls").communicate(timeout=60)
    assert ROWS <= len(server.bodies) <= ROWS + kills * CONCURRENCY
    paid = len(server.bodies)
    second, _ = start(server, tmp_path / "calls").communicate(timeout=60)
    assert len(server.bodies) == paid
    assert first.splitlines()[:-1] == second.splitlines()[:-1]
    assert json.loads(second.splitlines()[-1])[0] is False, "no client is imported when the store has all"
    rows = [json.loads(line) for line in first.splitlines()[:-1]]
    assert [row[0] for row in rows] == [f"row-{number}" for number in range(ROWS)]
    with CallStore(tmp_path / "calls") as store:
        assert store.verify().damaged == []
        assert store.stats().keys == ROWS
