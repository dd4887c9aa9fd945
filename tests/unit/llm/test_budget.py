"""A budget stops a run cleanly: nothing new is asked, what was paid is kept, and the rest is paid later."""

import argparse
import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from finetrail.calls.budget import Budget, Spent
from finetrail.calls.money import MOST_VERSIONS, OTHERS, Ledger, Price, Usage
from finetrail.calls.paying_step import asking_parser
from finetrail.calls.store import CallStore
from finetrail.config.current import RUN_CONFIG_VARIABLE
from finetrail.llm.ask import Model, ask_rows, open_engine
from finetrail.llm.engine import Engine
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message
from finetrail.llm.schemas import ANSWER_VERDICT
from finetrail.step.step import Step, add_input, add_output, run_step
from tests.unit.forks import FORKS
from tests.unit.llm.fake_llm import LLM_KEYS, FakeServer, Harness, completion, echo

Ask = Callable[..., ChatRequest]
PRICE = Price(2.0, 8.0)
USD_A_CALL = (10 * 2 + 5 * 8) / 1e6
VERDICT = '{"reason": "so", "correct": true}'
ROWS = 40
AT_ONCE = 4


def outcomes(results: list[ChatAnswer | CallFailure]) -> tuple[int, int]:
    answered = [result for result in results if isinstance(result, ChatAnswer)]
    left = [result for result in results if isinstance(result, CallFailure) and result.unasked]
    assert len(answered) + len(left) == len(results)
    return len(answered), len(left)


@pytest.mark.parametrize("bounds", [{"calls": 10}, {"usd": 10 * USD_A_CALL}])
def test_no_call_starts_once_the_budget_is_spent(harness: Harness, ask: Ask, bounds: dict[str, Any]) -> None:
    requests = [ask(str(number)) for number in range(ROWS)]
    settings: dict[str, Any] = {"prices": {"m": PRICE}, "max_concurrency": AT_ONCE}
    answered, left = outcomes(harness.run(requests, budget=Budget(**bounds), **settings))
    reached = len(harness.server.bodies)
    assert 10 <= reached <= 10 + AT_ONCE - 1, "only what is in flight may come in later"
    assert (answered, left) == (reached, ROWS - reached)
    assert harness.totals["unasked"] == left and harness.totals["failures"] == 0
    with CallStore(harness.folder) as store:
        assert store.stats().calls == reached, "everything answered is kept"
    answered, left = outcomes(harness.run(requests, budget=Budget(calls=1000), **settings))
    assert (answered, left) == (ROWS, 0)
    assert len(harness.server.bodies) == ROWS, "only the rest is paid"


def test_calls_in_flight_come_in_and_are_kept(harness: Harness, ask: Ask) -> None:
    async def first_is_quick(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        while len(harness.server.bodies) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0 if number == 1 else 0.2)
        return await echo(number, body, request)

    harness.server.handler = first_is_quick
    answered, _ = outcomes(harness.run([ask(str(number)) for number in range(ROWS)], budget=Budget(calls=1)))
    assert answered == len(harness.server.bodies) == 4, "the slow start sends four"


def test_a_spent_budget_ends_a_run_at_once_also_under_a_ceiling(harness: Harness, ask: Ask) -> None:
    began = time.monotonic()
    requests = [ask(str(number)) for number in range(400)]
    assert outcomes(harness.run(requests, budget=Budget(calls=2), requests_per_minute=60)) == (2, 398)
    assert time.monotonic() - began < 200, "not the 400 seconds that the ceiling would have had them wait"


def test_a_spent_budget_needs_no_key_and_starts_nothing(harness: Harness, ask: Ask) -> None:
    assert outcomes(harness.run([ask("a")], budget=Budget(calls=0), api_key_env="NO_SUCH_KEY")) == (0, 1)
    assert harness.server.bodies == []


def test_stored_answers_are_free_under_a_spent_budget(harness: Harness, ask: Ask) -> None:
    harness.run([ask("late")])
    results = harness.run([ask("a"), ask("late"), ask("b")], budget=Budget(calls=0))
    assert outcomes(results) == (1, 2)
    assert isinstance(results[1], ChatAnswer)


def test_replies_that_are_of_no_use_are_paid_too(harness: Harness, ask: Ask) -> None:
    async def rubbish(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion("no JSON")

    harness.server.handler = rubbish
    schema: dict[str, Any] = {"schema": ANSWER_VERDICT.schema, "schema_name": ANSWER_VERDICT.name}
    requests = [ask(str(number), **schema) for number in range(ROWS)]
    harness.run(requests, budget=Budget(calls=6), max_concurrency=1)
    assert len(harness.server.bodies) == 6, "answers and their repairs"


def test_replies_without_text_are_paid_too(harness: Harness, ask: Ask) -> None:
    """A reasoning model that thinks up to its limit says nothing, and costs the most."""

    async def silent(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion("", finish_reason="length") if number % 2 else await echo(number, body, request)

    harness.server.handler = silent
    settings: dict[str, Any] = {"max_concurrency": 1, "prices": {"m": PRICE}}
    harness.run([ask(str(number)) for number in range(ROWS)], budget=Budget(usd=6 * USD_A_CALL), **settings)
    assert len(harness.server.bodies) == 6
    assert (harness.totals["calls_made"], harness.totals["failures"]) == (6, 3)
    assert harness.totals["usd"] == pytest.approx(6 * USD_A_CALL)
    with CallStore(harness.folder) as store:
        assert store.stats().calls == 6, "what is of no use is stored, too"


@pytest.mark.parametrize("usage", [{"prompt_tokens": -9_000_000, "completion_tokens": 5}, None, {"prompt_tokens": "x"}])
def test_no_usage_that_a_server_makes_up_lifts_a_budget(harness: Harness, ask: Ask, usage: Any) -> None:
    """What is not known counts for the budget as the plan would estimate it."""

    async def made_up(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": [{"message": {"content": "yes"}}], "model": "m", "usage": usage})

    harness.server.handler = made_up
    longest = Price(2.0, 8.0).of(Usage(0, 50))
    assert longest is not None
    settings: dict[str, Any] = {"max_concurrency": 1, "prices": {"m": Price(2.0, 8.0)}}
    harness.run([ask(str(number)) for number in range(ROWS)], budget=Budget(usd=4.5 * longest), **settings)
    assert len(harness.server.bodies) == 5
    assert (harness.totals["usd"], harness.totals["unpriced_calls"]) == (None, 5)


def test_a_reply_whose_repair_the_budget_did_not_allow_is_not_paid_for_again(harness: Harness, ask: Ask) -> None:
    schema: dict[str, Any] = {"schema": ANSWER_VERDICT.schema, "schema_name": ANSWER_VERDICT.name}

    async def sloppy(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion(VERDICT if len(body["messages"]) > 2 else "I think so")

    harness.server.handler = sloppy
    (unasked,) = harness.run([ask("a", **schema)], budget=Budget(calls=1))
    assert isinstance(unasked, CallFailure) and unasked.unasked
    (left,) = harness.run([ask("a", **schema)], mode="replay")
    assert isinstance(left, CallFailure)
    (answer,) = harness.run([ask("a", **schema)])
    assert isinstance(answer, ChatAnswer)
    assert answer.usage == Usage(20, 10)
    assert [len(body["messages"]) for body in harness.server.bodies] == [2, 4]


def test_a_cached_prompt_has_its_own_price() -> None:
    usage = Usage(prompt_tokens=1000, completion_tokens=100, cached_tokens=400)
    assert Price(2.0, 8.0, 0.5).of(usage) == pytest.approx((600 * 2 + 400 * 0.5 + 100 * 8) / 1e6)
    assert Price(2.0, 8.0).of(usage) == pytest.approx((1000 * 2 + 100 * 8) / 1e6)
    assert Price(2.0, 8.0, 0.0).of(usage) == pytest.approx((600 * 2 + 100 * 8) / 1e6)


def test_cached_tokens_are_read_and_priced(harness: Harness, ask: Ask) -> None:
    async def cached(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        reply = json.loads((await echo(number, body, request)).body)  # type: ignore[attr-defined]
        reply["usage"]["prompt_tokens_details"] = {"cached_tokens": 8}
        return web.json_response(reply)

    harness.server.handler = cached
    harness.run([ask("a")], prices={"m": Price(2.0, 8.0, 0.5)})
    assert harness.totals["cached_tokens"] == 8
    assert harness.totals["usd"] == pytest.approx((2 * 2 + 8 * 0.5 + 5 * 8) / 1e6)
    with CallStore(harness.folder) as store:
        call = store.get(ask("a").key)
    assert call is not None and call.paid["usd"] == pytest.approx((2 * 2 + 8 * 0.5 + 5 * 8) / 1e6)


def test_jobs_of_a_run_share_what_they_paid(tmp_path: Path) -> None:
    ours, theirs = Budget(usd=1.0, folder=tmp_path), Budget(usd=1.0, folder=tmp_path)
    ours.pay(0.25)
    theirs.pay(0.5)
    theirs.pay(0.125)
    assert ours.spent() == Spent(3, 0.875) and not ours.is_spent()
    theirs.close()
    late = Budget(usd=1.0, folder=tmp_path)
    assert late.spent() == Spent(3, 0.875), "a retry counts what the attempt before it paid"
    late.pay(0.125)
    assert late.is_spent()
    assert Budget(usd=1.0, folder=tmp_path / "another_run").spent() == Spent(0, 0.0)


def test_a_server_that_is_another_version_each_time_fills_no_memory() -> None:
    ledger = Ledger()
    for number in range(10_000):
        ledger.pay("label", "m", f"m-{number}", None, Usage(1, 1), 1.0)
    totals = ledger.totals()
    assert len(totals["models"]) == MOST_VERSIONS + 1
    assert sum(one["calls"] for one in totals["models"]) == 10_000
    assert {"asked": "m", "answered": OTHERS, "fingerprint": None, "calls": 9_900} in totals["models"]
    assert totals["models_that_changed"] == ["m"]


def test_a_line_half_written_waits(tmp_path: Path) -> None:
    other = tmp_path / ".job.1-ab.paid"
    other.write_bytes(b"0.5\n0.2")
    budget = Budget(usd=1.0, folder=tmp_path)
    assert budget.spent() == Spent(1, 0.5)
    other.write_bytes(b"0.5\n0.25\n")
    budget._refreshed = float("-inf")
    assert budget.spent() == Spent(2, 0.75)


def pay_until_spent(folder: Path, url: str, store: Path, first: int) -> None:
    from tests.unit.llm.fake_llm import make_request

    class Elsewhere:
        pass

    server: Any = Elsewhere()
    server.url = url
    requests = [make_request(str(number)) for number in range(first, first + 300)]
    Harness(server, store).run(requests, budget=Budget(calls=200, folder=folder), max_concurrency=AT_ONCE)


@pytest.mark.heavy
def test_parallel_jobs_exceed_the_budget_by_what_is_in_flight_only(server: FakeServer, tmp_path: Path) -> None:
    async def slow(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.06)
        return await echo(number, body, request)

    server.handler = slow
    jobs = [
        FORKS.Process(target=pay_until_spent, args=(tmp_path / "run", server.url, tmp_path / "calls", first))
        for first in (0, 1000, 2000)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    assert 200 <= len(server.bodies) <= 200 + len(jobs) * 2 * AT_ONCE
    with CallStore(tmp_path / "calls") as store:
        assert store.stats().calls == len(server.bodies)


class Job:
    """A step that asks a question a row."""

    def __init__(self, server: FakeServer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.root, self.monkeypatch = server, root, monkeypatch
        monkeypatch.chdir(root)
        (root / "in.jsonl").write_text("".join(f'{{"id": "row-{number}"}}\n' for number in range(ROWS)))
        server.handler = self.reply

    async def reply(self, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion(VERDICT)

    def configure(
        self, run: str, prices: dict[str, Any] | None = None, more: dict[str, Any] | None = None, **llm: Any
    ) -> None:
        endpoint = {
            "kind": "openai", "base_url": self.server.url, "api_key_env": None, "timeout_s": 5.0,
            "max_concurrency": AT_ONCE, "max_retries": 1, "prices": prices or {}, **(more or {}),
        }  # fmt: skip
        path = self.root / f"{run}.yaml"
        content = {
            "results_dir": "results", "scale": "full", "llm": {**LLM_KEYS, **llm, "endpoints": {"fake": endpoint}}
        }  # fmt: skip
        path.write_text(yaml.safe_dump(content))
        self.monkeypatch.setenv(RUN_CONFIG_VARIABLE, str(path))
        self.monkeypatch.setenv("FINETRAIL_RUN", str(self.root / "runs" / run))

    def work(self, step: Step, args: argparse.Namespace) -> None:
        settings = {"model": "m", "revision": None, "temperature": 0.0, "top_p": 1.0, "max_tokens": 50}
        model = Model("fake", settings | {"extra_body": {}, "logprobs": None})

        def requests(row: dict[str, Any]) -> list[ChatRequest]:
            return [model.request(row["id"], step.rule, [Message("user", row["id"] + "?" * 36)], ANSWER_VERDICT)]

        out = step.writer(args.out)
        with open_engine(step) as engine:
            for row, _ in ask_rows(step, engine, step.rows(args.rows), requests):
                out.write(row)

    def start(self, *more: str) -> int:
        parser = asking_parser("A step.")
        add_input(parser, "--rows", "rows")
        add_output(parser, "--out", "rows")
        command = ["--rows", "in.jsonl", "--out", "out/out.jsonl", "--meta", "out/out.meta.json", *more]
        script = Path(__file__).resolve().parents[3] / "scripts" / "synthesize" / "judge_answers.py"
        return run_step(parser, command, str(script), self.work)

    def records(self, run: str) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in (self.root / "runs" / run / "jobs").glob("*.json")]

    def meta(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.root / "out/out.meta.json").read_text())
        return content


@pytest.fixture
def job(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Job:
    return Job(server, tmp_path, monkeypatch)


def test_a_step_stops_with_one_message_and_goes_on_with_a_higher_budget(
    job: Job, capfd: pytest.CaptureFixture[str]
) -> None:
    prices = {"m": {"input": 2.0, "output": 8.0}}
    job.configure("first", prices, budget_usd=10 * USD_A_CALL)
    assert job.start() == 1
    paid = len(job.server.bodies)
    assert 10 <= paid < 10 + AT_ONCE
    said = [line for line in capfd.readouterr().err.splitlines() if "budget" in line]
    assert len(said) == 1
    assert f"its jobs paid {paid} calls, {paid * USD_A_CALL:.4f} USD; {ROWS - paid} of {ROWS} rows" in said[0]
    assert "llm.budget_usd: 0.0006: the budget of this run is spent" in said[0]
    assert "run again, with a higher bound, to pay for the rest only" in said[0]
    assert not (job.root / "out/out.jsonl").exists()
    (record,) = job.records("first")
    assert record["status"] == "failed" and record["llm"]["usd"] == pytest.approx(paid * USD_A_CALL)
    assert job.start() == 1, "a retry within the run has no budget of its own"
    assert len(job.server.bodies) == paid
    job.configure("second", prices, budget_usd=100 * USD_A_CALL)
    assert job.start() == 0
    assert len(job.server.bodies) == ROWS
    llm = job.meta()["llm"]
    assert (llm["calls_made"], llm["from_store"]) == (ROWS - paid, paid)
    assert llm["usd"] == pytest.approx((ROWS - paid) * USD_A_CALL)
    assert llm["answers"]["usd"] == pytest.approx(ROWS * USD_A_CALL)
    expected = {"calls": 1.0, "prompt_tokens": 10.0, "completion_tokens": 5.0, "usd": pytest.approx(USD_A_CALL)}
    assert llm["answers"]["per_row"] == expected


def test_what_comes_in_while_a_step_is_ended_is_in_its_record(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    closing, close = threading.Event(), Engine.close

    def noted(engine: Engine) -> None:
        closing.set()
        close(engine)

    async def interrupts(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if number == AT_ONCE:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        assert await asyncio.to_thread(closing.wait, 60)
        return completion(VERDICT)

    monkeypatch.setattr(Engine, "close", noted)
    job.server.handler = interrupts
    job.configure("first", {"m": {"input": 2.0, "output": 8.0}}, {"timeout_s": 60.0})
    assert job.start() == 1
    assert len(job.server.bodies) == AT_ONCE, "no call begins after the signal"
    (record,) = job.records("first")
    assert record["status"] == "interrupted"
    assert record["llm"]["calls_made"] == AT_ONCE and record["llm"]["usd"] == pytest.approx(AT_ONCE * USD_A_CALL)
    with CallStore(job.root / "results" / "calls") as store:
        assert store.stats().calls == AT_ONCE


def test_a_model_without_a_price_costs_an_unknown_amount(job: Job) -> None:
    job.configure("run", budget_calls=1000)
    assert job.start() == 0
    llm = job.meta()["llm"]
    assert (llm["usd"], llm["answers"]["usd"], llm["per_call"]["usd"]) == (None, None, None)
    assert llm["unpriced_calls"] == ROWS


def test_a_model_that_changes_is_reported_once(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    async def changing(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        reply = json.loads((await job.reply(number, body, request)).body)  # type: ignore[attr-defined]
        return web.json_response(reply | {"system_fingerprint": f"fp{number % 3}"})

    job.server.handler = changing
    job.configure("run")
    assert job.start() == 0
    llm = job.meta()["llm"]
    assert llm["models_that_changed"] == ["m"]
    assert sorted(entry["fingerprint"] for entry in llm["models"]) == ["fp0", "fp1", "fp2"]
    log = next((job.root / "runs" / "run" / "jobs").glob("*.log")).read_text()
    assert log.count("m answers as m-2026 (fingerprint fp") == 1


def test_one_model_is_no_change(job: Job) -> None:
    job.configure("run")
    assert job.start() == 0
    assert job.meta()["llm"]["models_that_changed"] == []
    assert "answers as" not in next((job.root / "runs" / "run" / "jobs").glob("*.log")).read_text()


def test_a_model_that_changes_between_jobs_of_a_run_is_reported(job: Job) -> None:
    def as_version(name: str, row: str, *more: str) -> dict[str, Any]:
        async def reply(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
            content = json.loads((await job.reply(number, body, request)).body)  # type: ignore[attr-defined]
            return web.json_response(content | {"model": name})

        job.server.handler = reply
        (job.root / "in.jsonl").write_text(f'{{"id": "{row}"}}\n')
        assert job.start("--meta", f"out/{row}.meta.json") == 0
        llm: dict[str, Any] = json.loads((job.root / f"out/{row}.meta.json").read_text())["llm"]
        return llm

    job.configure("run")
    assert as_version("m-may", "a")["models_that_changed"] == []
    assert as_version("m-may", "b")["models_that_changed"] == []
    assert as_version("m-june", "c")["models_that_changed"] == ["m"]
    logs = "".join(path.read_text() for path in (job.root / "runs" / "run" / "jobs").glob("*.log"))
    assert logs.count("m answered other jobs of this run as another version") == 1
    job.configure("another")
    assert as_version("m-july", "d")["models_that_changed"] == []


def planned(job: Job, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capfd.readouterr()
    assert job.start("--plan") == 0
    content: dict[str, Any] = json.loads(capfd.readouterr().out)
    return content


def test_a_plan_asks_and_writes_nothing(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    job.configure("run")
    before = sorted(job.root.rglob("*"))
    plan = planned(job, capfd)
    assert sorted(job.root.rglob("*")) == before
    assert job.server.bodies == []
    assert (plan["rows"], plan["calls"], plan["in_store"], plan["to_make"]) == (ROWS, ROWS, 0, ROWS)
    texts = sum(len(f"row-{number}" + "?" * 36) for number in range(ROWS))
    assert (plan["prompt_tokens"], plan["completion_tokens"]) == (round(texts / 4), ROWS * 50)
    assert plan["basis"] == "characters/4, and max_tokens"
    assert plan["usd"] is None


def test_a_plan_after_a_run_has_nothing_to_make(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    prices = {"m": {"input": 2.0, "output": 8.0}}
    job.configure("run", prices)
    assert job.start() == 0
    plan = planned(job, capfd)
    assert (plan["in_store"], plan["to_make"], plan["usd"]) == (ROWS, 0, 0.0)
    with (job.root / "in.jsonl").open("a") as stream:
        stream.write('{"id": "row-x"}\n')
    plan = planned(job, capfd)
    assert (plan["calls"], plan["in_store"], plan["to_make"]) == (ROWS + 1, ROWS, 1)
    assert (plan["prompt_tokens"], plan["completion_tokens"], plan["basis"]) == (10, 5, "40 stored calls")
    assert plan["usd"] == pytest.approx(USD_A_CALL)


def test_estimates_come_from_other_calls_of_the_phase(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    job.configure("run")
    assert job.start() == 0
    (job.root / "in.jsonl").write_text('{"id": "new-1"}\n{"id": "new-1"}\n{"id": "new-2"}\n')
    plan = planned(job, capfd)
    assert (plan["rows"], plan["calls"], plan["to_make"]) == (3, 3, 2), "one question of two rows is asked once"
    assert (plan["completion_tokens"], plan["basis"]) == (10, "40 stored calls")
