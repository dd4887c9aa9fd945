"""Several answers to one question: with one call where the server knows `n`, with one call each elsewhere."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from finetrail.calls.money import Usage
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from finetrail.llm.engine import Engine
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest
from finetrail.llm.samples import share_usage
from finetrail.llm.schemas import GROUNDED_ANSWER
from tests.unit.llm.fake_llm import FakeServer, Harness, asked, completion, refusal

Ask = Callable[..., ChatRequest]
SCHEMA: dict[str, Any] = {"schema": GROUNDED_ANSWER.schema, "schema_name": GROUNDED_ANSWER.name}


def choice(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


def several(texts: list[str]) -> web.Response:
    usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(texts) + 1}
    return web.json_response({"choices": [choice(text) for text in texts], "model": "m-2026", "usage": usage})


async def knows_n(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """Answer with a nonce, so that a repeated call shows."""
    return several([f"{asked(body)}: answer {number}.{part}" for part in range(body.get("n", 1))])


def versions(ask: Ask, rows: int, count: int, **more: Any) -> list[ChatRequest]:
    return [ask(f"q{row}", sample=sample, **more) for row in range(rows) for sample in range(count)]


def texts(outcomes: list[ChatAnswer | CallFailure]) -> list[str]:
    assert all(isinstance(outcome, ChatAnswer) for outcome in outcomes), outcomes
    return [outcome.text for outcome in outcomes if isinstance(outcome, ChatAnswer)]


def test_one_call_a_question_fills_every_key_and_raising_n_asks_for_the_rest(
    harness: Harness, server: FakeServer, ask: Ask
) -> None:
    server.handler = knows_n
    first = texts(harness.run(versions(ask, 40, 3), supports_n=True))
    assert [body["n"] for body in server.bodies] == [3] * 40
    assert len(set(first)) == 120
    assert (harness.totals["attempts"], harness.totals["calls_made"]) == (40, 120)
    assert (harness.totals["prompt_tokens"], harness.totals["completion_tokens"]) == (400, 640)
    more = texts(harness.run(versions(ask, 40, 5), supports_n=True))
    assert [body["n"] for body in server.bodies[40:]] == [2] * 40
    assert len({body["seed"] for body in (server.bodies[0], server.bodies[40])}) == 2, "new versions, another seed"
    assert [text for place, text in enumerate(more) if place % 5 < 3] == first


def test_what_is_read_does_not_depend_on_how_it_came(harness: Harness, server: FakeServer, ask: Ask) -> None:
    server.handler = knows_n
    requests = versions(ask, 10, 4)
    paid = harness.run(requests, supports_n=True)
    calls = len(server.bodies)
    with_n, without, replayed = (
        harness.run(requests, supports_n=True),
        harness.run(requests),
        harness.run(requests, mode="replay"),
    )
    assert len(server.bodies) == calls == 10
    rows = [[{**vars(o), "from_store": None} for o in outcomes] for outcomes in (paid, with_n, without, replayed)]
    assert rows[0] == rows[1] == rows[2] == rows[3]
    with CallStore(harness.folder) as store:
        assert store.verify().damaged == []
        assert store.stats().keys == 40


def test_elsewhere_each_version_is_a_call(harness: Harness, server: FakeServer, ask: Ask) -> None:
    server.handler = knows_n
    assert len(set(texts(harness.run(versions(ask, 5, 3))))) == 15
    assert len(server.bodies) == 15
    assert all("n" not in body for body in server.bodies)


@pytest.mark.parametrize("window", [2, 3, 7])
def test_a_window_smaller_than_the_versions_loses_nothing(
    harness: Harness, server: FakeServer, ask: Ask, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    server.handler = knows_n
    monkeypatch.setattr("finetrail.llm.engine.SMALLEST_WINDOW", window)
    monkeypatch.setattr("finetrail.llm.engine.WINDOW_A_CALL", 1)
    requests = versions(ask, 10, 5)
    found = texts(harness.run(requests, supports_n=True, max_concurrency=1))
    assert [text.split(":")[0] for text in found] == [f"q{row}" for row in range(10) for _ in range(5)]


def test_a_server_that_gives_fewer_is_asked_for_the_rest(
    harness: Harness, server: FakeServer, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    async def stingy(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return completion(f"{asked(body)} {number}")

    server.handler = stingy
    assert len(set(texts(harness.run(versions(ask, 3, 4), supports_n=True)))) == 12
    assert len(server.bodies) == 12
    assert caplog.text.count("llm.endpoints.fake.supports_n: false") == 1


def test_a_bad_answer_among_good_ones_is_asked_for_anew_and_the_good_ones_are_kept(
    harness: Harness, server: FakeServer, ask: Ask
) -> None:
    async def sloppy(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        good = [json.dumps({"answer": f"{number}.{part}"}) for part in range(body.get("n", 1))]
        return several(["no json", good[1], "", good[3]] if number == 1 else good)

    server.handler = sloppy
    outcomes = harness.run(versions(ask, 1, 4, **SCHEMA), supports_n=True)
    answers = [outcome.parsed["answer"] for outcome in outcomes if isinstance(outcome, ChatAnswer)]
    assert answers == ["2.0", "1.1", "3.0", "1.3"]
    assert len(server.bodies) == 3, "one call, the repair of the first answer, and one for the third"
    assert "n" not in server.bodies[1]


def test_answers_that_came_along_are_kept_though_the_first_is_given_up(
    harness: Harness, server: FakeServer, ask: Ask
) -> None:
    async def half(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return several(["no json", '{"answer": "kept"}'][: body.get("n", 1)])

    server.handler = half
    first, second = harness.run(versions(ask, 1, 2, **SCHEMA), supports_n=True)
    assert isinstance(first, CallFailure)
    assert isinstance(second, ChatAnswer)
    assert second.parsed == {"answer": "kept"}
    with CallStore(harness.folder) as store:
        assert store.stats().calls == 2, "the reply of no use is stored as such"


def test_a_refusal_of_n_ends_the_run_for_every_version(harness: Harness, server: FakeServer, ask: Ask) -> None:
    async def strict(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(400, "n must be 1", param="n")

    server.handler = strict
    with pytest.raises(FinetrailError, match="supports_n: false"):
        harness.run(versions(ask, 3, 4), supports_n=True)


def test_leaving_in_the_middle_ends_cleanly(harness: Harness, server: FakeServer, ask: Ask) -> None:
    server.handler = knows_n
    with (
        CallStore(harness.folder) as store,
        Engine([harness.endpoint(supports_n=True, max_concurrency=1)], store) as engine,
    ):
        run = engine.run(versions(ask, 30, 3))
        next(run)
        run.close()
        again = list(engine.run(versions(ask, 30, 3)))
    assert len(set(texts(again))) == 90


def test_the_tokens_of_a_call_are_shared_without_loss() -> None:
    assert share_usage(Usage(10, 8), 3) == [Usage(10, 3), Usage(0, 3), Usage(0, 2)]
