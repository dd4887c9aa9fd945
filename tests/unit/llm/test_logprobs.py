"""Log-probabilities: part of the key, stored with the answer; and what the server says about itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from finetrail.errors import FinetrailError
from finetrail.llm.request import ChatAnswer, ChatRequest
from tests.unit.llm.fake_llm import Harness, asked, completion

Ask = Callable[..., ChatRequest]
TOKENS = [{"token": "yes", "logprob": -0.25, "bytes": [121], "top_logprobs": [{"token": "no", "logprob": -1.5}]}]


async def sure(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    return completion("yes", logprobs={"content": TOKENS} if body.get("logprobs") else None)


def test_they_are_asked_for_stored_and_read_again(harness: Harness, ask: Ask) -> None:
    harness.server.handler = sure
    plain, some, none_beside = ask("a"), ask("a", logprobs=3), ask("a", logprobs=0)
    assert len({plain.key, some.key, none_beside.key}) == 3
    paid = harness.run([plain, some, none_beside])
    assert [(b.get("logprobs"), b.get("top_logprobs")) for b in harness.server.bodies] == [
        (None, None),
        (True, 3),
        (True, None),
    ]
    again = harness.run([plain, some, none_beside], mode="replay")
    for outcomes in (paid, again):
        assert [o.logprobs for o in outcomes if isinstance(o, ChatAnswer)] == [None, TOKENS, TOKENS]
    (segment,) = harness.folder.glob("*.jsonl")
    answers = [json.loads(line)["answer"] for line in segment.read_text().splitlines()]
    assert ["logprobs" in answer for answer in answers].count(True) == 2


def test_a_server_without_them_ends_the_run(harness: Harness, ask: Ask) -> None:
    with pytest.raises(FinetrailError) as caught:
        harness.run([ask(str(number), logprobs=0) for number in range(100)])
    assert "answers without log-probabilities, though logprobs is 0" in str(caught.value)
    assert "Leave the key `logprobs` of the phase that asks at null" in str(caught.value)
    assert len(harness.server.bodies) <= 16
    assert not list(harness.folder.glob("*.jsonl"))


def test_minus_infinity_is_stored_as_null(harness: Harness, ask: Ask) -> None:
    async def never(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        tokens = [{"token": "yes", "logprob": float("-inf")}]
        choice = {"message": {"content": asked(body)}, "logprobs": {"content": tokens}}
        return web.Response(text=json.dumps({"choices": [choice]}), content_type="application/json")

    harness.server.handler = never
    (answer,) = harness.run([ask("a", logprobs=0)])
    assert isinstance(answer, ChatAnswer)
    assert answer.logprobs == [{"token": "yes", "logprob": None}]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"model": "m-2026-01", "system_fingerprint": "fp_9"}, ("m-2026-01", "fp_9")),
        ({"model": "m-2026-01", "system_fingerprint": None}, ("m-2026-01", None)),
        ({"model": "m-2026-01", "system_fingerprint": ""}, ("m-2026-01", None)),
        ({"model": ["odd"], "system_fingerprint": {"odd": 1}}, ("unknown", None)),
        ({}, ("unknown", None)),
    ],
)
def test_who_answered_is_stored(harness: Harness, ask: Ask, said: dict[str, Any], kept: tuple[str, str | None]) -> None:
    async def answering(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": [{"message": {"content": "yes"}}], **said})

    harness.server.handler = answering
    harness.run([ask("a")])
    (stored,) = harness.run([ask("a")], mode="replay")
    assert isinstance(stored, ChatAnswer)
    assert (stored.model, stored.fingerprint) == kept
