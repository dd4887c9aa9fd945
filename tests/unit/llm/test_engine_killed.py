"""Kill the engine's process at any moment; go on; count what reached the server, and compare every byte."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.store import CallStore
from tests.unit.llm.fake_llm import FakeServer, asked, completion, make_request

ROOT = Path(__file__).parents[3]
CONCURRENCY = 8
LATENCY_S = 0.01

RUN = f"""
import json, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from tests.unit.llm.fake_llm import make_request
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.calls.store import CallStore
endpoint = Endpoint("fake", "openai", sys.argv[1], max_concurrency={CONCURRENCY})
with CallStore(Path(sys.argv[2]), segment_bytes=100_000) as store, Engine([endpoint], store) as engine:
    for answer in engine.run(make_request(str(number)) for number in range(int(sys.argv[3]))):
        print(json.dumps([answer.row_id, answer.text, answer.answer_sha256]), flush=True)
print(json.dumps(["openai" in sys.modules]))
"""


@dataclass
class Assassin:
    """Answers each call with words of its own, and kills its caller a little after a given number of calls."""

    moments: list[tuple[int, float]]
    victim: "subprocess.Popen[bytes] | None" = None
    said: dict[str, set[str]] = field(default_factory=dict)
    _sent: bool = False

    async def answer(self, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if self.moments and number >= self.moments[0][0] and not self._sent:
            assert self.victim is not None
            self._sent = True
            asyncio.get_running_loop().call_later(self.moments[0][1], self.victim.kill)
        await asyncio.sleep(LATENCY_S)
        text = f"{asked(body)}: call {number}"
        self.said.setdefault(f"row-{asked(body)}", set()).add(text)
        return completion(text)

    def next(self) -> None:
        """Let the next one live until its own moment."""
        self.moments.pop(0)
        self._sent = False


def run(server: FakeServer, store: Path, rows: int, out: Path, assassin: Assassin | None = None) -> int:
    """Run the engine in a process of its own; return its exit code."""
    command = [sys.executable, "-c", RUN, server.url, str(store), str(rows), str(ROOT)]
    with out.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream)
        if assassin is not None:
            assassin.victim = process
        try:
            return process.wait(120)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("rows", "kills"), [(200, 3), pytest.param(2000, 20, marks=pytest.mark.long)], ids=["some", "all"]
)
def test_killed_runs_pay_for_no_more_than_the_calls_in_flight(
    server: FakeServer, tmp_path: Path, rows: int, kills: int
) -> None:
    draw = random.Random(20)
    calls = sorted(draw.sample(range(1, rows * 9 // 10), kills))
    assassin = Assassin([(number, draw.uniform(0, 2 * LATENCY_S)) for number in calls])
    server.handler = assassin.answer
    shown: list[bytes] = []
    for kill in range(kills):
        out = tmp_path / f"killed-{kill}"
        assert run(server, tmp_path / "calls", rows, out, assassin) == -signal.SIGKILL
        shown.append(out.read_bytes())
        assassin.next()
    assert run(server, tmp_path / "calls", rows, tmp_path / "first") == 0
    paid = len(server.bodies)
    assert rows <= paid <= rows + kills * CONCURRENCY

    assert run(server, tmp_path / "calls", rows, tmp_path / "second") == 0
    assert len(server.bodies) == paid
    first, second = ((tmp_path / name).read_text().splitlines() for name in ("first", "second"))
    assert first[:-1] == second[:-1]
    assert json.loads(second[-1]) == [False], "no client is imported when the store has all"
    for before in shown:
        whole = before.decode().split("\n")[:-1]
        assert whole == first[: len(whole)], "what a killed run had given out stays as it was"

    answers = [json.loads(line) for line in first[:-1]]
    assert [row for row, _, _ in answers] == [f"row-{number}" for number in range(rows)]
    assert all(text in assassin.said[row] for row, text, _ in answers)
    with CallStore(tmp_path / "calls") as store:
        report, stats = store.verify(), store.stats()
        for number, (_, text, digest) in enumerate(answers):
            call = store.get(make_request(str(number)).key)
            assert call is not None
            assert (call.answer["text"], call.answer_sha256) == (text, digest)
    assert report.damaged == []
    assert (stats.keys, stats.calls) == (rows, rows), "an answer that is kept is not asked for again"


def test_after_a_torn_record_its_row_alone_is_asked_again(server: FakeServer, tmp_path: Path) -> None:
    server.handler = Assassin([]).answer
    assert run(server, tmp_path / "calls", 50, tmp_path / "before") == 0
    (segment,) = (tmp_path / "calls").glob("*.jsonl")
    content = segment.read_bytes()
    last = json.loads(content.splitlines()[-1])
    cut = random.Random(7).randrange(content.rindex(b"\n", 0, -1) + 2, len(content))
    segment.write_bytes(content[:cut])
    server.bodies.clear()
    assert run(server, tmp_path / "calls", 50, tmp_path / "after") == 0
    assert [f"row-{text}" for text in server.texts()] == [last["paid"]["row"]]
    before, after = ((tmp_path / name).read_text().splitlines()[:-1] for name in ("before", "after"))
    differing = [json.loads(old)[0] for old, new in zip(before, after, strict=True) if old != new]
    assert differing == [last["paid"]["row"]], "the nonce of the second answer"
