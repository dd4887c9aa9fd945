"""What the engine does with servers that answer, fail, refuse and lie."""

import asyncio
import base64
import hashlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.caller import Caller
from finetrail.calls.cleaning import Cleaner
from finetrail.calls.faults import Failed
from finetrail.calls.http_client import Came, HttpClient
from finetrail.calls.money import Price
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message, Sampling
from finetrail.llm.schemas import RELEVANCE
from finetrail.vision.image import Image
from tests.unit.llm.fake_llm import FakeServer, Harness, asked, completion, echo, refusal
from tests.unit.small_png import small_png

Ask = Callable[..., ChatRequest]
SCHEMA: dict[str, Any] = {"schema": RELEVANCE.schema, "schema_name": RELEVANCE.name}
# How long what must happen is waited for: it decides nothing, and a loaded machine may need it.
PATIENCE_S = 60.0
GOOD_JSON = '{"reason": "because", "relevant": true}'


async def good(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return completion(GOOD_JSON)


def answers(outcomes: list[ChatAnswer | CallFailure]) -> list[ChatAnswer]:
    assert all(isinstance(outcome, ChatAnswer) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, ChatAnswer)]


def comparable(outcomes: list[ChatAnswer | CallFailure]) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(o).items() if name != "from_store"} for o in outcomes]


def test_order_and_bytes_do_not_depend_on_latency_or_concurrency(server: FakeServer, tmp_path: Path, ask: Ask) -> None:
    async def slow(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(random.random() * 0.02)
        return await echo(number, body, request)

    server.handler = slow
    requests = [ask(str(number)) for number in range(120)]
    one = Harness(server, tmp_path / "one").run(requests, max_concurrency=1)
    assert server.most_at_once == 1
    many = Harness(server, tmp_path / "many").run(requests, max_concurrency=16)
    assert 1 < server.most_at_once <= 16
    assert [answer.text for answer in answers(one)] == [f"answer to {number}" for number in range(120)]
    assert comparable(one) == comparable(many)


def test_a_second_run_makes_no_call_and_one_new_row_makes_one(harness: Harness, ask: Ask) -> None:
    requests = [ask(str(number)) for number in range(30)]
    first = harness.run(requests)
    assert harness.totals["calls_made"] == len(harness.server.bodies) == 30
    second = harness.run(requests)
    assert len(harness.server.bodies) == 30
    assert all(answer.from_store for answer in answers(second))
    assert comparable(first) == comparable(second)
    harness.run([*requests, ask("new")])
    assert harness.server.texts()[30:] == ["new"]
    assert harness.totals["from_store"] == 30
    assert harness.totals["calls_made"] == 1


@pytest.mark.parametrize("header", [{"Retry-After": "0"}, {"retry-after-ms": "30"}, {}])
def test_refused_for_asking_too_much_then_answered(harness: Harness, ask: Ask, header: dict[str, str]) -> None:
    async def limited(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(429, "slow down", header) if number <= 2 else await echo(number, body, request)

    harness.server.handler = limited
    assert len(answers(harness.run([ask(str(number)) for number in range(6)]))) == 6
    assert len(harness.server.bodies) == 8
    assert harness.totals["rate_limited"] == 2


def test_a_server_that_allows_few_at_once_loses_nothing(harness: Harness, ask: Ask) -> None:
    at_once = 0

    async def narrow(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        nonlocal at_once
        if at_once >= 5:
            return refusal(429, "too many at once", {"retry-after-ms": "20"})
        at_once += 1
        try:
            await asyncio.sleep(0.01)
        finally:
            at_once -= 1
        return await echo(number, body, request)

    harness.server.handler = narrow
    outcomes = answers(harness.run([ask(str(number)) for number in range(200)], max_concurrency=40))
    assert [answer.text for answer in outcomes] == [f"answer to {number}" for number in range(200)]
    assert 0 < harness.totals["rate_limited"] < 200


@pytest.mark.heavy
def test_a_call_that_waits_as_long_as_the_server_asks_holds_no_place(harness: Harness, ask: Ask) -> None:
    came: list[tuple[str, float]] = []
    far = "Fri, 31 Dec 2100 00:00:00 GMT"
    inside: set[str] = set()
    three = threading.Event()

    async def three_are_refused(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        text = asked(body)
        came.append((text, time.monotonic()))
        if text == "0" and harness.server.texts().count("0") == 1:
            return refusal(429, "you later", {"Retry-After": "1"})
        if text in ("1", "2"):
            return refusal(429, "and you much later", {"Retry-After": far})
        if int(text) >= 900:  # by now the limit has grown again: these stay until three are here at once
            inside.add(text)
            if len(inside) == 3:
                three.set()
            while not three.is_set():
                await asyncio.sleep(0.01)
        return await echo(number, body, request)

    harness.server.handler = three_are_refused
    with CallStore(harness.folder) as store, Engine([harness.endpoint(max_concurrency=4)], store) as engine:
        run = engine.run([ask(str(number)) for number in range(1000)])
        assert isinstance(next(run), ChatAnswer)
        assert three.wait(60), "two that wait leave more than the other two of four places"
        run.close()
    first, again = [at for text, at in came if text == "0"]
    assert again - first >= 1.0
    assert [text for text, _ in came].count("1") == 1, "a date is waited for"


def test_requests_a_minute_are_kept_by_the_engine(harness: Harness, ask: Ask) -> None:
    came: list[float] = []

    async def timed(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        came.append(time.monotonic())
        return await echo(number, body, request)

    harness.server.handler = timed
    start = time.monotonic()  # not the first arrival, which a busy machine may see late
    answers(harness.run([ask(str(number)) for number in range(12)], requests_per_minute=1200))
    assert came[-1] - start >= 10 * 0.05 - 0.1, "a twentieth of a second each, a tenth may be caught up"


def test_tokens_a_minute_are_kept_by_the_engine(harness: Harness, ask: Ask) -> None:
    came: list[float] = []

    async def timed(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        came.append(time.monotonic())
        return await echo(number, body, request)

    harness.server.handler = timed
    start = time.monotonic()  # not the first arrival, which a busy machine may see late
    answers(harness.run([ask(str(number)) for number in range(12)], tokens_per_minute=15 * 1200))
    assert came[-1] - start >= 10 * 0.05 - 0.1, "15 tokens a call, as the server counts them"


def test_an_engine_goes_on_after_a_run_that_was_left(harness: Harness, ask: Ask) -> None:
    async def slow(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return await echo(number, body, request)

    harness.server.handler = slow
    with CallStore(harness.folder) as store, Engine([harness.endpoint(max_concurrency=4)], store) as engine:
        left = engine.run([ask(f"left {number}") for number in range(500)])
        next(left)
        left.close()
        again = list(engine.run([ask(f"left {number}") for number in range(30)]))
    assert [answer.text for answer in answers(again)] == [f"answer to left {number}" for number in range(30)]
    assert len(harness.server.bodies) < 60, "what nobody waits for is not asked"


def test_closing_the_engine_ends_the_wait_for_what_is_queued(harness: Harness, ask: Ask) -> None:
    async def refuse(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(429, "in an hour", {"Retry-After": "3600"}) if number > 2 else await echo(number, body, request)

    harness.server.handler = refuse
    with CallStore(harness.folder) as store, Engine([harness.endpoint()], store) as engine:
        run = engine.run([ask(str(number)) for number in range(100)])
        next(run)
        engine.close()
        with pytest.raises(FinetrailError, match="the engine was closed before the answer came"):
            list(run)


def test_closing_the_engine_waits_for_no_second_attempt_of_what_was_under_way(
    harness: Harness, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has the calls when the engine is closed; then it asks to wait for an hour."""
    closing, waits = threading.Event(), []
    dismiss, sleep = Caller.dismiss, asyncio.sleep

    def noted(caller: Caller[Any], task: Any) -> None:
        dismiss(caller, task)
        closing.set()

    async def slept(seconds: float, *result: Any) -> None:
        waits.append(seconds)
        await sleep(0)

    async def refuse(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if number == 1:
            return await echo(number, body, request)
        await asyncio.to_thread(closing.wait, PATIENCE_S)
        return refusal(429, "in an hour", {"Retry-After": "3600"})

    harness.server.handler = refuse
    monkeypatch.setattr(Caller, "dismiss", noted)
    monkeypatch.setattr("finetrail.calls.caller.asyncio.sleep", slept)
    with CallStore(harness.folder) as store, Engine([harness.endpoint()], store) as engine:
        run = engine.run([ask(str(number)) for number in range(20)])
        next(run)
        close = threading.Thread(target=engine.close, daemon=True)
        close.start()
        close.join(PATIENCE_S)
        assert not close.is_alive(), "it waits for what is not under way"
    assert closing.is_set() and all(seconds < 60 for seconds in waits), waits


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503])
def test_passing_errors_are_tried_again(harness: Harness, ask: Ask, status: int) -> None:
    async def flaky(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(status, "hiccup") if number == 1 else await echo(number, body, request)

    harness.server.handler = flaky
    assert answers(harness.run([ask("a")]))[0].text == "answer to a"
    assert harness.totals["attempts"] == 2


def test_broken_connections_timeouts_and_garbage_are_tried_again(harness: Harness, ask: Ask) -> None:
    async def broken(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if number == 1:
            assert request.transport is not None
            request.transport.close()
        if number == 2:
            await asyncio.sleep(5)
        if number == 3:
            return web.Response(text="<html>gateway</html>", content_type="text/html")
        return await echo(number, body, request)

    harness.server.handler = broken
    assert answers(harness.run([ask("a")], timeout_s=0.4))[0].text == "answer to a"
    assert len(harness.server.bodies) == 4


@pytest.mark.parametrize("in_time", [True, False])
def test_what_came_while_this_process_stood_still_is_read(server: FakeServer, *, in_time: bool) -> None:
    """Stopped by Ctrl-Z, or without a processor: the time is over, but the answer is there, and paid for."""
    arrived, may_answer, answered = threading.Event(), threading.Event(), threading.Event()

    async def told(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.to_thread(may_answer.wait, PATIENCE_S)
        response = await echo(number, body, request)
        await response.prepare(request)
        await response.write_eof()
        answered.set()
        return response

    async def call() -> Came:
        loop, stood_still_s = asyncio.get_running_loop(), 0.0
        clock = loop.time
        loop.time = lambda: clock() + stood_still_s  # type: ignore[method-assign]
        endpoint = Endpoint("fake", "openai", server.url, timeout_s=2 * PATIENCE_S)
        client = HttpClient(endpoint, server.url, Cleaner())
        body = b'{"messages": [{"content": "a"}]}'
        url = f"{server.url}/chat/completions"
        calling = asyncio.create_task(client.call("POST", url, headers={}, body=body, most=1000))
        assert await asyncio.to_thread(arrived.wait, PATIENCE_S)
        if in_time:
            may_answer.set()
            assert answered.wait(PATIENCE_S), "the loop stands still meanwhile"
        stood_still_s = 4 * PATIENCE_S
        try:
            return await calling
        finally:
            may_answer.set()
            await client.close()

    server.handler = told
    if in_time:
        assert b"answer to a" in asyncio.run(call()).body
    else:
        with pytest.raises(Failed, match="no answer within 120 s"):
            asyncio.run(call())


def test_a_poison_row_does_not_stop_the_others(harness: Harness, ask: Ask) -> None:
    async def poisoned(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if asked(body) == "3":
            return refusal(500, "it hurts")
        if asked(body) == "5":
            return refusal(400, "maximum context length is 10 tokens", code="context_length_exceeded")
        return await echo(number, body, request)

    harness.server.handler = poisoned
    outcomes = harness.run([ask(str(number)) for number in range(8)], max_retries=1)
    failures = [outcome for outcome in outcomes if isinstance(outcome, CallFailure)]
    assert [(failure.row_id, failure.attempts) for failure in failures] == [("row-3", 2), ("row-5", 1)]
    assert "HTTP 500: it hurts" in failures[0].error
    assert "choose a model with more context" in failures[1].error
    assert len(outcomes) == 8
    assert harness.totals["failures"] == 2
    harness.server.handler = echo
    before = len(harness.server.bodies)
    assert len(answers(harness.run([ask(str(number)) for number in range(8)]))) == 8
    assert sorted(harness.server.texts()[before:]) == ["3", "5"], "what was not paid for is not stored"


def test_a_server_that_answers_nobody_ends_the_run(harness: Harness, ask: Ask) -> None:
    async def dead(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(500, "always")

    harness.server.handler = dead
    with pytest.raises(FinetrailError, match="20 rows were given up and none was answered"):
        harness.run([ask(str(number)) for number in range(100)], max_retries=0)
    assert len(harness.server.bodies) < 60


def test_nobody_listens(harness: Harness, ask: Ask) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(FinetrailError) as caught:
        harness.run([ask(str(n)) for n in range(50)], base_url=f"http://127.0.0.1:{port}/v1")
    assert f"row row-0: http://127.0.0.1:{port}/v1 cannot be reached" in str(caught.value)
    assert "Check that the server runs, and llm.endpoints.fake.base_url" in str(caught.value)


def test_a_server_that_goes_away_ends_the_run_and_keeps_what_came(harness: Harness, ask: Ask) -> None:
    harness.run([ask(str(number)) for number in range(5)])
    harness.server.close()
    with pytest.raises(FinetrailError, match="cannot be reached"):
        harness.run([ask(str(number)) for number in range(9)], max_retries=0)
    assert len(answers(harness.run([ask(str(number)) for number in range(5)], mode="replay"))) == 5


def test_a_missing_key_is_named_only_when_a_call_is_needed(
    harness: Harness, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_KEY", "sk-abc")
    harness.run([ask("a")], api_key_env="FAKE_KEY")
    monkeypatch.delenv("FAKE_KEY")
    assert answers(harness.run([ask("a")], api_key_env="FAKE_KEY"))[0].from_store
    with pytest.raises(FinetrailError, match="the environment variable FAKE_KEY is not set"):
        harness.run([ask("b")], api_key_env="FAKE_KEY")


def test_broken_json_is_repaired_once(harness: Harness, ask: Ask) -> None:
    async def sloppy(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion("```json\n{}\n```" if number == 1 else GOOD_JSON)

    harness.server.handler = sloppy
    (answer,) = answers(harness.run([ask("a", **SCHEMA)]))
    assert answer.parsed == {"reason": "because", "relevant": True}
    assert answer.usage is not None and answer.usage.prompt_tokens == 20, "both calls were paid for"
    repair = harness.server.bodies[1]["messages"]
    assert [message["role"] for message in repair] == ["system", "user", "assistant", "user"]
    assert "'reason' is a required property" in repair[-1]["content"], "the fence is not what is wrong with it"
    harness.run([ask("a", **SCHEMA)])
    assert len(harness.server.bodies) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no json", "not valid JSON"),
        ('{"reason": "x"}', "'relevant' is a required property"),
        ('{"reason": "x", "relevant": "yes"}', r"\$.relevant: 'yes' is not of type 'boolean'"),
        ('{"reason": "x", "relevant": true, "relevant": false}', "a key occurs twice"),
        ('{"reason": NaN, "relevant": true}', "NaN is not JSON"),
        ('{"reason": "\\ud800", "relevant": true}', "surrogates not allowed"),
    ],
)
def test_json_that_stays_broken_is_a_failure_that_is_paid_once(
    harness: Harness, ask: Ask, text: str, problem: str
) -> None:
    async def stubborn(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion(text)

    harness.server.handler = stubborn
    (failure,) = harness.run([ask("a", **SCHEMA)])
    assert isinstance(failure, CallFailure)
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(failure.error)
    for mode in ("live", "replay"):
        (again,) = harness.run([ask("a", **SCHEMA)], mode=mode)
        assert isinstance(again, CallFailure)
        assert again.error == f"{failure.error} (this reply was paid for and is stored; llm.ask_again: true asks anew)"
    assert len(harness.server.bodies) == 2
    harness.server.handler = good
    for ask_again in (True, False):  # what is of use goes before what is not, though it is younger
        (answer,) = answers(harness.run([ask("a", **SCHEMA)], ask_again=ask_again))
        assert answer.parsed == {"reason": "because", "relevant": True}
    assert len(harness.server.bodies) == 3


def test_an_answer_that_was_cut_says_so(harness: Harness, ask: Ask) -> None:
    async def long(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion('{"reason": "because', finish_reason="length")

    harness.server.handler = long
    (failure,) = harness.run([ask("a", **SCHEMA)])
    assert isinstance(failure, CallFailure)
    assert "max_tokens" in failure.error
    assert len(harness.server.bodies) == 1


def test_the_schema_is_sent_strictly(harness: Harness, ask: Ask) -> None:
    harness.server.handler = good
    harness.run([ask("a", **SCHEMA, extra_body={"top_k": 3})])
    (body,) = harness.server.bodies
    assert body["response_format"]["json_schema"] == {
        "name": "relevance",
        "schema": RELEVANCE.schema,
        "strict": True,
    }
    assert (body["top_k"], body["seed"], body["temperature"]) == (3, 7, 0.0)


def test_one_question_of_several_rows_is_asked_once(harness: Harness, ask: Ask) -> None:
    async def slow(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return await echo(number, body, request)

    harness.server.handler = slow
    outcomes = answers(harness.run([ask("same", row_id=f"r{number}") for number in range(10)]))
    assert len(harness.server.bodies) == 1
    assert [outcome.row_id for outcome in outcomes] == [f"r{number}" for number in range(10)]
    assert len({outcome.answer_sha256 for outcome in outcomes}) == 1
    assert (harness.totals["calls_made"], harness.totals["from_store"]) == (1, 9)


def test_samples_differ_by_key_and_by_seed(harness: Harness, ask: Ask) -> None:
    outcomes = answers(harness.run([ask("a", sample=sample) for sample in range(4)]))
    assert len({outcome.key for outcome in outcomes}) == 4
    assert len({body["seed"] for body in harness.server.bodies}) == 4


def test_the_key_holds_what_decides_the_answer_and_nothing_else(ask: Ask) -> None:
    base = ask("a")
    same = [ask("a", row_id="other"), ask("a", phase="judge"), ask("a", endpoint="elsewhere")]
    different = [
        ask("b"),
        ask("a", model="n"),
        ask("a", revision="2"),
        ask("a", sample=1),
        ask("a", facts={"dtype": "bf16"}),
        ask("a", extra_body={"top_k": 1}),
        ask("a", **SCHEMA),
        ask("a", sampling=Sampling(temperature=0.0, max_tokens=50, seed=8)),
    ]
    assert {request.key for request in same} == {base.key}
    assert len({base.key, *(request.key for request in different)}) == len(different) + 1


def test_replay_names_row_and_phase_and_makes_no_call(harness: Harness, ask: Ask) -> None:
    harness.run([ask("a")])
    with pytest.raises(FinetrailError) as caught:
        harness.run([ask("a"), ask("b")], mode="replay")
    assert "row row-b" in str(caught.value)
    assert "'label'" in str(caught.value)
    assert len(harness.server.bodies) == 1


def test_images_enter_by_hash_and_neither_they_nor_keys_enter_the_store(
    harness: Harness, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_KEY", "sk-very-secret-key")
    content = small_png(640, 480) + bytes(range(256)) * 8
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    first.write_bytes(content)
    second.write_bytes(content)
    requests = [
        ask("what is it?", messages=(Message("user", "what is it?", (Image.from_file(path),)),))
        for path in (first, second)
    ]
    assert requests[0].key == requests[1].key
    harness.run(requests, api_key_env="FAKE_KEY")
    (body,) = harness.server.bodies
    encoded = base64.b64encode(content).decode()
    assert body["messages"][0]["content"][0]["image_url"]["url"] == f"data:image/png;base64,{encoded}"
    (segment,) = harness.folder.glob("*.jsonl")
    stored = segment.read_text()
    assert hashlib.sha256(content).hexdigest() in stored
    assert encoded[:40] not in stored
    assert "secret" not in stored
    assert "uthorization" not in stored
    first.write_bytes(content + b"!")
    image = Image(hashlib.sha256(content).hexdigest(), first)
    changed = ask("and now?", messages=(Message("user", "and now?", (image,)),))
    with pytest.raises(FinetrailError, match="has changed since its hash was taken"):
        harness.run([changed])


def test_text_that_is_no_text_fails_its_row_only(harness: Harness, ask: Ask) -> None:
    failure, answer = harness.run([ask("\ud800"), ask("good")])
    assert isinstance(failure, CallFailure)
    assert "surrogates" in failure.error
    assert isinstance(answer, ChatAnswer)


def test_money_is_counted_by_phase(harness: Harness, ask: Ask) -> None:
    with (
        CallStore(harness.folder) as store,
        Engine([harness.endpoint(prices={"m": Price(2.0, 8.0)})], store) as engine,
    ):
        list(engine.run([ask("a"), ask("b", phase="judge")]))
        priced = engine.totals
        list(engine.run([ask("c", model="another")]))
        totals = engine.totals
    assert priced["usd"] == pytest.approx(2 * (10 * 2 + 5 * 8) / 1e6)
    assert priced["per_call"] == {"prompt_tokens": 10, "completion_tokens": 5, "usd": pytest.approx(60 / 1e6)}
    assert totals["prompt_tokens"] == 30
    assert (totals["usd"], totals["unpriced_calls"]) == (None, 1), "what one call cost is not known"
    assert totals["phases"]["label"]["usd"] is None
    assert totals["phases"]["judge"]["calls_made"] == 1
    assert totals["phases"]["judge"]["usd"] == pytest.approx(60 / 1e6)
    assert {"asked": "m", "answered": "m-2026", "fingerprint": "fp1", "calls": 2} in totals["models"]


def test_a_million_requests_are_not_held(harness: Harness, ask: Ask) -> None:
    taken = 0

    def endless() -> Iterator[ChatRequest]:
        nonlocal taken
        for taken in itertools.count(1):
            yield ask(str(taken))

    with CallStore(harness.folder) as store, Engine([harness.endpoint()], store) as engine:
        run = engine.run(endless())
        for _ in range(50):
            next(run)
        run.close()
        assert taken <= 50 + 1024 + 1
    assert CallStore(harness.folder).verify().damaged == []


def test_an_unknown_endpoint_is_named(harness: Harness, ask: Ask) -> None:
    with pytest.raises(FinetrailError, match=r"there is no endpoint 'nowhere'\. Known: fake"):
        harness.run([ask("a", endpoint="nowhere")])
