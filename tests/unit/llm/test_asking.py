"""What a step that asks a model says while it works: rows, calls, waits, money, and an honest time left."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.eta import LATELY, Outlook
from finetrail.calls.store import CallStore
from finetrail.llm.ask_progress import Asking
from finetrail.llm.engine import Engine
from finetrail.step.progress import Progress
from tests.unit.llm.fake_llm import FakeServer, Harness, completion, make_request, refusal


class Answering:
    """An engine as the report sees it, at a moment that the test sets."""

    def __init__(self) -> None:
        self.outlook = Outlook()
        self.totals: dict[str, Any] = {
            "calls_made": 0, "repairs": 0, "unusable": 0, "failures": 0, "rate_limited": 0, "errors": 0,
            "from_store": 0, "usd": 0.0,
        }  # fmt: skip

    def in_flight(self) -> int:
        return 64

    def look_up(self, requests: int, *, missing: bool) -> None:
        for _ in range(requests):
            self.outlook.add(missing=missing)


def asking(engine: Any, total: int, read: int) -> Asking:
    """Make the report of a step that has read so many of its rows, and asked about them all."""
    reading = Progress("rows", total)
    reading.advance(read - 1)
    report = Asking(engine, lambda: reading, None)
    report.begin(0.0)
    report.asked = read
    return report


def test_rows_from_the_store_do_not_make_the_rest_look_quick() -> None:
    engine = Answering()
    engine.look_up(50_000, missing=False)
    report = asking(engine, 100_000, 51_024)
    engine.look_up(1024, missing=True)
    for second in range(5, 11):
        engine.totals["calls_made"] = 50 * second
        report.done = 50_000 + 50 * second
        standing = report.standing(float(second))
    assert standing.per_second > 4000
    assert standing.seconds_left == pytest.approx((100_000 - 50_000 - 500) / 50, rel=0.02)


def test_scattered_rows_from_the_store_count_as_such() -> None:
    engine = Answering()
    report = asking(engine, 10_000, 4000)
    for _ in range(2000):
        engine.look_up(1, missing=True)
        engine.look_up(1, missing=False)
    report.standing(0.0)
    engine.totals["calls_made"], report.done = 1000, 2000
    standing = report.standing(100.0)
    assert standing.seconds_left == pytest.approx((10_000 - 2000) / 2 / 10, rel=0.02)


def test_nothing_to_call_leaves_the_time_of_the_rows() -> None:
    engine = Answering()
    report = asking(engine, 1000, 500)
    engine.look_up(500, missing=False)
    report.done = 500
    assert report.standing(5.0).seconds_left == 5.0


def test_a_server_that_does_not_answer_leaves_the_time_unknown() -> None:
    engine = Answering()
    report = asking(engine, 1000, 500)
    engine.look_up(500, missing=True)
    assert "time left unknown" in report.standing(30.0).line()


def test_rows_that_are_passed_over_make_the_total_an_estimate() -> None:
    engine = Answering()
    report = asking(engine, 1000, 400)
    report.asked = 100
    standing = report.standing(1.0)
    assert (standing.total, standing.is_estimate) == (250, True)
    report.all_asked = True
    standing = report.standing(2.0)
    assert (standing.total, standing.is_estimate) == (100, False)


def test_the_outlook_forgets_what_was_long_ago() -> None:
    outlook = Outlook()
    for _ in range(10):
        outlook.add(missing=False)
    outlook.add(missing=True)
    assert outlook.share == pytest.approx(1 / 11)
    for _ in range(10 * LATELY):
        outlook.add(missing=True)
    assert outlook.share > 0.99
    assert outlook.calls_left(settled=2561, requests=100.0) == pytest.approx(100.0, rel=0.01)


def test_the_line_names_what_the_engine_did(server: FakeServer, tmp_path: Path) -> None:
    release = asyncio.Event()

    async def moody(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if number == 2:
            return refusal(429, "slow down", {"Retry-After": "0"})
        if number == 3:
            return refusal(500, "oh no")
        if "last" in str(body):
            server.loop.call_later(30, release.set)
            await release.wait()
        return completion("so")

    server.handler = moody
    harness = Harness(server, tmp_path / "calls")
    harness.run([make_request("stored")])
    endpoint = harness.endpoint(max_concurrency=2)
    with CallStore(tmp_path / "calls") as store, Engine([endpoint], store) as engine:
        report = Asking(engine, lambda: None, None)
        report.begin(0.0)
        outcomes = engine.run([make_request(name) for name in ("stored", "a", "b", "last")])
        for _ in range(3):
            next(outcomes)
            report.advance()
        standing = report.standing(10.0)
        server.loop.call_soon_threadsafe(release.set)
        list(outcomes)
        assert engine.in_flight() == 0
    assert standing.llm is not None
    assert {name: standing.llm[name] for name in ("rate_limited", "errors", "from_store", "calls_made")} == {
        "rate_limited": 1, "errors": 1, "from_store": 1, "calls_made": 2,
    }  # fmt: skip
    assert standing.notes == ("1 in flight", "1 times 429", "1 errors", "price unknown", "1 from the store")
    assert standing.line().startswith("rows: 3 done, 0.3/s (0.2 calls/s); 1 in flight")
