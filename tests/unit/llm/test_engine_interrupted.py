"""Interrupt the engine's process at any moment; go on; no call is paid for twice."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.inspect_store import read_calls
from finetrail.calls.store import CallStore
from finetrail.llm.schemas import RELEVANCE
from tests.unit.llm.fake_llm import FakeServer, Harness, asked, completion, make_request
from tests.unit.llm.test_engine_calls import GOOD_JSON, PATIENCE_S, answers

ROOT = Path(__file__).parents[3]
LATENCY_S = 0.05

RUN = """
import logging, signal, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from tests.unit.llm.fake_llm import make_request
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.llm.schemas import RELEVANCE
from finetrail.calls.store import CallStore
from finetrail.step.step import _raise_interrupted
logging.basicConfig(level=logging.INFO)
signal.signal(signal.SIGTERM, _raise_interrupted)
endpoint = Endpoint("fake", "openai", sys.argv[1], max_concurrency=8, timeout_s=60.0)
schema = {"schema": RELEVANCE.schema, "schema_name": RELEVANCE.name}
try:
    with CallStore(Path(sys.argv[2])) as store, Engine([endpoint], store) as engine:
        for answer in engine.run(make_request(str(number), **schema) for number in range(int(sys.argv[3]))):
            pass
except KeyboardInterrupt:
    sys.exit(7)
"""


def begin(server: FakeServer, store: Path, rows: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RUN, server.url, str(store), str(rows), str(ROOT)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_what_came_between_sigterm_and_sigkill_is_kept(server: FakeServer, tmp_path: Path) -> None:
    """SLURM's way to end a job: it is told, and after KillWait killed."""
    at_once, rows, folder = 4, 20, tmp_path / "calls"
    all_here, told = asyncio.Event(), asyncio.Event()

    async def half_are_quick(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if number == at_once:
            all_here.set()
        await told.wait()
        if number > at_once // 2:
            await asyncio.sleep(3600)
        return completion(GOOD_JSON)

    server.handler = half_are_quick
    with begin(server, folder, rows) as process:
        try:
            assert process.stderr is not None
            asyncio.run_coroutine_threadsafe(asyncio.wait_for(all_here.wait(), PATIENCE_S), server.loop).result()
            process.send_signal(signal.SIGTERM)
            assert any("waiting for 4 calls that are under way" in line for line in process.stderr)
            server.loop.call_soon_threadsafe(told.set)
            while len(list(read_calls(folder))) < at_once // 2:
                assert process.poll() is None
        finally:
            process.kill()
    assert len(server.bodies) == at_once, "no call begins after SIGTERM"
    with CallStore(folder) as store:
        assert store.verify().damaged == []
    server.handler = answer_at_once
    schema: dict[str, Any] = {"schema": RELEVANCE.schema, "schema_name": RELEVANCE.name}
    requests = [make_request(str(number), **schema) for number in range(rows)]
    assert len(answers(Harness(server, folder).run(requests))) == rows
    assert len(server.bodies) == at_once + rows - at_once // 2, "what came is paid for once"


async def answer_at_once(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return completion(GOOD_JSON)


@dataclass
class Interrupter:
    """Answers slowly, every fifth row in a form that must be repaired, and interrupts its caller at given calls."""

    moments: list[int]
    victim: "subprocess.Popen[str] | None" = None
    times: list[int] = field(default_factory=list)

    async def answer(self, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if self.moments and number >= self.moments[0]:
            assert self.victim is not None
            self.times.append(self.moments.pop(0))
            self.victim.send_signal(signal.SIGINT)
        await asyncio.sleep(LATENCY_S)
        is_repair = len(body["messages"]) > 2
        return completion(GOOD_JSON if is_repair or int(asked(body)) % 5 else "no form at all")


@pytest.mark.heavy
def test_interrupts_at_any_call_pay_for_nothing_twice(server: FakeServer, tmp_path: Path) -> None:
    rows = 150
    interrupter = Interrupter(sorted(random.Random(18).sample(range(1, rows), 4)))
    server.handler = interrupter.answer
    codes: list[int] = []
    while not codes or codes[-1] == 7:
        with begin(server, tmp_path / "calls", rows) as process:
            interrupter.victim = process
            try:
                process.communicate(timeout=120)
            finally:
                process.kill()
        codes.append(process.returncode)
    assert len(interrupter.times) == 4
    assert codes == [7] * 4 + [0]
    seen = Counter(json.dumps(body, sort_keys=True) for body in server.bodies)
    assert [body for body, times in seen.items() if times > 1] == []
    schema: dict[str, Any] = {"schema": RELEVANCE.schema, "schema_name": RELEVANCE.name}
    requests = [make_request(str(number), **schema) for number in range(rows)]
    assert len(answers(Harness(server, tmp_path / "calls").run(requests, mode="replay"))) == rows


@pytest.mark.parametrize("interrupts", [1, 2])
def test_a_second_interrupt_does_not_wait(server: FakeServer, tmp_path: Path, interrupts: int) -> None:
    arrived, let_go = asyncio.Event(), asyncio.Event()

    async def hold(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        arrived.set()
        await let_go.wait()
        return completion(GOOD_JSON)

    server.handler = hold
    with begin(server, tmp_path / "calls", 4) as process:
        try:
            assert process.stderr is not None
            asyncio.run_coroutine_threadsafe(asyncio.wait_for(arrived.wait(), 60), server.loop).result()
            process.send_signal(signal.SIGINT)
            told = next(line for line in process.stderr if "waiting for" in line)
            assert "calls that are under way, since they are paid for" in told
            if interrupts == 2:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 7, "it would wait for ever"
            server.loop.call_soon_threadsafe(let_go.set)
            assert process.wait(60) == 7
        finally:
            process.kill()
    kept = len(list((tmp_path / "calls").glob("*.jsonl")))
    assert kept == (1 if interrupts == 1 else 0), "what was under way is kept, or lost"
