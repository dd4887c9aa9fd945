"""Whatever makes every call fail ends the run with one message that says what to change."""

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from finetrail.errors import FinetrailError
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest
from finetrail.llm.schemas import RELEVANCE
from tests.unit.llm.fake_llm import Handler, Harness, asked, echo, refusal

Ask = Callable[..., ChatRequest]
SCHEMA: dict[str, Any] = {"schema": RELEVANCE.schema, "schema_name": RELEVANCE.name}
PLACE = "endpoint 'fake', model 'm', phase 'label', row row-"
KEY_ADVICE = "Check the environment variable FAKE_KEY (llm.endpoints.fake.api_key_env)"
MODEL_ADVICE = "Check the key `model` of the phase that asks"
URL_ADVICE = "Check that llm.endpoints.fake.base_url is what comes before /chat/completions"

REFUSED = [
    (401, {"error": {"message": "Incorrect API key provided: sk-secret-1234567"}}, "refuses the API key", KEY_ADVICE),
    (403, {"error": {"message": "not allowed"}}, "refuses the API key", KEY_ADVICE),
    # Gemini: a list around the error, and 400 for a wrong key
    (400, [{"error": {"code": 400, "message": "API key not valid."}}], "refuses the API key", KEY_ADVICE),
    (404, {"error": {"message": "gone", "code": "model_not_found"}}, "does not know the model 'm'", MODEL_ADVICE),
    (404, {"error": {"message": 'model "m" not found, try pulling it'}}, "does not know the model 'm'", MODEL_ADVICE),
    (400, {"error": {"message": "Invalid model name passed in"}}, "does not know the model 'm'", MODEL_ADVICE),
    (404, {"detail": "Not Found"}, "has no /chat/completions", URL_ADVICE),
    (405, "<html>Method Not Allowed</html>", "has no /chat/completions", URL_ADVICE),
    (402, {"error": {"message": "pay first"}}, "credit is used up", "Add credit"),
    (429, {"error": {"message": "quota", "code": "insufficient_quota"}}, "credit is used up", "Add credit"),
    (400, {"error": {"message": "Your credit balance is too low"}}, "credit is used up", "Add credit"),
    (
        400,
        {"error": {"message": "Invalid schema for response_format 'relevance'", "param": "response_format"}},
        "refuses the response schema 'relevance'",
        "Choose an `endpoint` and a `model` that support structured output",
    ),
    (
        400,
        {"error": {"message": "max_tokens is too large. This model's maximum context length is 40 tokens"}},
        "max_tokens is 50, which leaves no room for a prompt",
        "Lower the key `max_tokens`",
    ),
    (
        400,
        {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}},
        "refuses the setting max_tokens",
        "extra_body: {max_tokens: null}",
    ),
    (
        400,
        {"error": {"message": "Only the default value is supported", "param": "temperature"}},
        "refuses the setting temperature",
        "extra_body: {temperature: null}",
    ),
    (
        400,
        [{"error": {"message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'}}],
        "refuses the setting seed",
        "extra_body: {seed: null}",
    ),
    # Anthropic, of models since Claude Opus 4.1 and Opus 4.7
    (
        400,
        {
            "error": {
                "message": "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
            }
        },
        "refuses the setting top_p",
        "extra_body: {top_p: null}",
    ),
    (
        400,
        {"error": {"message": "`temperature` is deprecated for this model."}},
        "refuses the setting temperature",
        "extra_body: {temperature: null}",
    ),
    (
        400,
        {"error": {"message": "Logprobs is not enabled for models/m"}},
        "refuses the setting logprobs",
        "Change the key logprobs",
    ),
    (400, {"error": {"message": "must be 1", "param": "n"}}, "refuses n", "llm.endpoints.fake.supports_n: false"),
    (
        400,
        [{"error": {"message": "Multiple candidates is not enabled for this model"}}],
        "refuses n",
        "llm.endpoints.fake.supports_n: false",
    ),
    (
        400,
        {"error": {"message": "n_cmpl cannot be greater than the number of slots, please increase -np"}},
        "refuses n",
        "llm.endpoints.fake.supports_n: false",
    ),
]


def always(status: int, body: Any) -> Handler:
    async def handler(number: int, asked_body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if isinstance(body, str):
            return web.Response(text=body, status=status, content_type="text/html")
        return web.json_response(body, status=status)

    return handler


def stopped(harness: Harness, ask: Ask, rows: int = 500, **settings: Any) -> str:
    """Run many rows, which must end with one error; return its text."""
    with pytest.raises(FinetrailError) as caught:
        harness.run([ask(str(number), **SCHEMA) for number in range(rows)], **settings)
    assert harness.totals["failures"] == 0, "no row goes into quarantine for what is not its fault"
    return str(caught.value)


@pytest.mark.parametrize(("status", "body", "cause", "hint"), REFUSED)
def test_a_refusal_that_every_row_would_meet_ends_the_run(
    harness: Harness,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: Any,
    cause: str,
    hint: str,
) -> None:
    monkeypatch.setenv("FAKE_KEY", "sk-secret-1234567")
    harness.server.handler = always(status, body)
    message = stopped(harness, ask, api_key_env="FAKE_KEY")
    assert message.startswith(PLACE)
    assert cause in message
    assert hint in message
    assert f"HTTP {status}" in message
    assert "sk-secret" not in message
    assert len(harness.server.bodies) <= 16


def test_a_missing_key_stops_before_the_first_call(harness: Harness, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKE_KEY", raising=False)
    message = stopped(harness, ask, api_key_env="FAKE_KEY")
    assert message.startswith(f"{PLACE}0: the environment variable FAKE_KEY is not set")
    assert "export FAKE_KEY=" in message
    assert "llm.endpoints.fake.api_key_env" in message
    assert harness.server.bodies == []


def test_a_server_that_wants_a_key_where_none_is_configured(harness: Harness, ask: Ask) -> None:
    harness.server.handler = always(401, {"error": {"message": "Unauthorized"}})
    assert "Set llm.endpoints.fake.api_key_env" in stopped(harness, ask)


async def closes(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@pytest.mark.parametrize(
    ("handler", "cause"),
    [
        (closes, "the connection broke"),
        (always(200, "<html><title>Welcome</title></html>"), "no chat completion"),
        (always(200, {"choices": []}), "no chat completion"),
        (always(200, {"error": {"message": "upstream is away"}}), "upstream is away"),
        (always(200, ""), "an empty body"),
    ],
)
def test_a_server_that_does_not_speak_the_protocol_ends_the_run_with_its_first_row(
    harness: Harness, ask: Ask, handler: Handler, cause: str
) -> None:
    harness.server.handler = handler
    message = stopped(harness, ask, max_retries=1)
    assert message.startswith(PLACE)
    assert cause in message
    assert "Check that llm.endpoints.fake.base_url is the address of an OpenAI-compatible server" in message
    assert len(harness.server.bodies) <= 32, "two attempts for each row that may be under way"


def test_a_row_that_breaks_connections_stops_nobody_else(harness: Harness, ask: Ask) -> None:
    async def poisoned(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return await (closes if asked(body) == "0" else echo)(number, body, request)

    harness.server.handler = poisoned
    first, *others = harness.run([ask(str(number)) for number in range(30)], max_retries=1)
    assert isinstance(first, CallFailure)
    assert "the connection broke" in first.error
    assert all(isinstance(outcome, ChatAnswer) for outcome in others)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 4096 tokens, however you requested 5000"),
        (413, "request entity too large"),
    ],
)
def test_a_row_that_is_too_long_is_given_up_alone(harness: Harness, ask: Ask, status: int, message: str) -> None:
    async def short_only(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(status, message) if asked(body) == "3" else await echo(number, body, request)

    harness.server.handler = short_only
    outcomes = harness.run([ask(str(number)) for number in range(30)])
    (failure,) = [outcome for outcome in outcomes if isinstance(outcome, CallFailure)]
    assert failure.row_id == "row-3"
    assert "shorten the prompt, show fewer or shorter passages, lower max_tokens" in failure.error


def test_a_prompt_that_is_too_long_in_every_row_ends_the_run(harness: Harness, ask: Ask) -> None:
    harness.server.handler = always(400, {"error": {"message": "maximum context length is 4096 tokens"}})
    with pytest.raises(FinetrailError, match="20 rows were given up and none was answered") as caught:
        harness.run([ask(str(number)) for number in range(500)])
    assert "choose a model with more context" in str(caught.value)
    assert "model 'm'" in str(caught.value)
    assert len(harness.server.bodies) <= 60


def test_a_moderated_row_is_no_matter_of_the_key(harness: Harness, ask: Ask) -> None:
    async def strict(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if asked(body) == "3":
            return refusal(403, "your input was flagged by moderation")
        return await echo(number, body, request)

    harness.server.handler = strict
    outcomes = harness.run([ask(str(number)) for number in range(8)])
    assert [outcome.row_id for outcome in outcomes if isinstance(outcome, CallFailure)] == ["row-3"]


def test_a_field_that_is_null_in_extra_body_is_not_sent(harness: Harness, ask: Ask) -> None:
    harness.run([ask("a", extra_body={"max_tokens": None, "max_completion_tokens": 50})])
    (body,) = harness.server.bodies
    assert "max_tokens" not in body
    assert body["max_completion_tokens"] == 50
    assert ask("a", extra_body={"max_tokens": None}).key != ask("a").key
