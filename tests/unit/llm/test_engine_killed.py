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
from tests.unit.llm.forked_writer import Writer
from tests.unit.llm.store_writer import CONCURRENCY

ROOT = Path(__file__).parents[3]
LATENCY_S = 0.01

# The store has all answers: in a process that has imported nothing before.
FRESH = """
from tests.unit.llm import store_writer
store_writer.main()
"""


@dataclass
class Assassin:
    """Answers each call with words of its own, and kills its caller a little after a given number of calls."""

    moments: list[tuple[int, float]]
    victim: Writer | None = None
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


def run(server: FakeServer, store: Path, rows: int, assassin: Assassin | None = None) -> tuple[int | None, list[Any]]:
    """Run the engine in a process of its own; return its exit code, and the answers that it gave out."""
    writer = Writer(server.url, str(store), 0, rows, segment_bytes=100_000)
    if assassin is not None:
        assassin.victim = writer
    given_out = writer.start().finish()
    return writer.status, given_out


@pytest.mark.heavy
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
    folder = tmp_path / "calls"
    shown = []
    for _ in range(kills):
        status, given_out = run(server, folder, rows, assassin)
        assert status == -signal.SIGKILL
        shown.append(given_out)
        assassin.next()
    status, answers = run(server, folder, rows)
    paid = len(server.bodies)
    assert status == 0
    assert rows <= paid <= rows + kills * CONCURRENCY

    command = [sys.executable, "-c", FRESH, server.url, str(folder), "0", str(rows)]
    fresh = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    again = fresh.stdout.splitlines()
    assert len(server.bodies) == paid
    assert [json.loads(line) for line in again] == answers
    for before in shown:
        assert before == answers[: len(before)], "what a killed run had given out stays as it was"

    assert [row for row, _, _ in answers] == [f"row-{number}" for number in range(rows)]
    assert all(text in assassin.said[row] for row, text, _ in answers)
    with CallStore(folder) as store:
        report, stats = store.verify(), store.stats()
        for number, (_, text, digest) in enumerate(answers):
            call = store.get(make_request(str(number)).key)
            assert call is not None
            assert (call.answer["text"], call.answer_sha256) == (text, digest)
    assert report.damaged == []
    assert (stats.keys, stats.calls) == (rows, rows), "an answer that is kept is not asked for again"


def test_after_a_torn_record_its_row_alone_is_asked_again(server: FakeServer, tmp_path: Path) -> None:
    server.handler = Assassin([]).answer
    status, before = run(server, tmp_path / "calls", 50)
    assert status == 0
    (segment,) = (tmp_path / "calls").glob("*.jsonl")
    content = segment.read_bytes()
    last = json.loads(content.splitlines()[-1])
    cut = random.Random(7).randrange(content.rindex(b"\n", 0, -1) + 2, len(content))
    segment.write_bytes(content[:cut])
    server.bodies.clear()
    status, after = run(server, tmp_path / "calls", 50)
    assert status == 0
    assert [f"row-{text}" for text in server.texts()] == [last["paid"]["row"]]
    differing = [old[0] for old, new in zip(before, after, strict=True) if old != new]
    assert differing == [last["paid"]["row"]], "the nonce of the second answer"
