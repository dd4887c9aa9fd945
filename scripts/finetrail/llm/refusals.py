"""What a refusal of a chat server means: stop the run, try again, or give up the row.

A key, a model or a setting that the server does not accept stops the run: every row would be refused.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from finetrail.calls.cleaning import Cleaner
from finetrail.calls.faults import Fault, fault_of_status, retry_after_seconds
from finetrail.calls.http_client import Came
from finetrail.errors import FinetrailError
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.request import ChatRequest

SHOWN_BYTES = 500
CONTEXT_WORDS = re.compile(r"context[_ ](length|window|size)|maximum context|too many tokens|exceeds? .*context", re.I)
KEY_WORDS = re.compile(r"\b(api|access)[ _-]?(key|token)\b", re.I)
MODERATION_WORDS = re.compile(r"moderation|flagged|safety|content (policy|filter)", re.I)
CREDIT_WORDS = re.compile(r"credit balance|insufficient[_ ](credit|fund|balance|quota)", re.I)
SCHEMA_WORDS = re.compile(r"response_format|json[_ ]?schema|invalid schema|grammar|guided|structured output", re.I)
MODEL_WORDS = re.compile(
    r"\bmodels?\b.{0,80}\b(not found|not exist|unknown|no such|not supported)|(invalid|unknown|no such) model", re.I
)
LONGEST_WORDS = re.compile(r"max(_completion)?_tokens\W.{0,40}too large", re.I)
CONTEXT_LIMIT = re.compile(r"context (?:length|window|size)\D{0,20}(\d+)", re.I)
SAME_FOR_ALL = ("temperature", "top_p", "max_tokens", "seed", "n", "logprobs", "top_logprobs")
NAMES = "|".join(SAME_FOR_ALL)
PARAMETER = re.compile(
    rf"(?:parameter|argument|unknown name|not support)[^a-z]*(?P<before>{NAMES})\b"
    rf"|\b(?P<after>{NAMES})\b[^a-z]*(?:(?:is|are) (?:not (?:supported|enabled|allowed)|deprecated)|cannot both be)",
    re.I,
)


def judge_refusal(
    status: int, body: Any, came: Came, endpoint: Endpoint, request: ChatRequest, cleaner: Cleaner
) -> Fault:
    """Decide what follows from a refusal.

    Args:
        status: the HTTP status, or what an error within a reply stands for.
        body: the parsed body or error; None where it is no JSON.
        came: the reply.
        endpoint, request: where was asked, and what.
        cleaner: knows the key.

    Raises:
        FinetrailError: the refusal concerns every call (key, model, schema, quota): the run stops.
    """
    fields = _error_of(body)
    said = fields.get("message") or fields.get("detail") or came.body[:SHOWN_BYTES].decode("utf-8", "replace")
    message = cleaner.message(said) or "without a word"
    fields = {name: cleaner.message(value) for name, value in fields.items() if isinstance(value, str | int)}
    about_context = CONTEXT_WORDS.search(f"{fields.get('code')} {message}") is not None
    if not about_context or _asks_for_too_much(message, request):
        _raise_if_all_would_fail(status, fields, message, endpoint, request)
    fault = fault_of_status(status, f"HTTP {status}: {message}", retry_after_seconds(came.headers))
    if fault.kind == "row" and (status == 413 or about_context):
        advice = (
            "shorten the prompt, show fewer or shorter passages, lower max_tokens, or choose a model with more context"
        )
        return Fault("row", f"{fault.error} ({advice})")
    return fault


def place_of(endpoint: Endpoint, request: ChatRequest) -> str:
    """Name endpoint, model, phase and row, for messages."""
    return f"endpoint {endpoint.name!r}, model {request.model!r}, phase {request.phase!r}, row {request.row_id}"


def _error_of(body: Any) -> dict[str, Any]:
    """Find the error object in a body: Gemini wraps it in a list, some servers in nothing."""
    while isinstance(body, list) and body:
        body = body[0]
    body = body if isinstance(body, dict) else {}
    inner = body.get("error", body)
    return inner if isinstance(inner, dict) else {"message": inner}


def _asks_for_too_much(message: str, request: ChatRequest) -> bool:
    """Tell whether `max_tokens` alone, without any prompt, exceeds the model's context."""
    found = CONTEXT_LIMIT.search(message) if LONGEST_WORDS.search(message) else None
    return found is not None and int(found[1]) <= (request.sampling.max_tokens or 0)


def _raise_if_all_would_fail(
    status: int, body: Mapping[str, Any], message: str, endpoint: Endpoint, request: ChatRequest
) -> None:
    """Stop at a refusal that has nothing to do with its row, and name what to change."""

    def stop(cause: str, hint: str) -> NoReturn:
        raise FinetrailError(f"{cause} (HTTP {status}: {message})", where=place_of(endpoint, request), hint=hint)

    entry = endpoint.entry
    labels = {str(body.get("code")), str(body.get("type"))}
    if status == 402 or "insufficient_quota" in labels or (status < 429 and CREDIT_WORDS.search(message)):
        stop("the account's credit is used up", "Add credit, then run again: answers paid so far are kept")
    if _is_about_key(status, message):
        may_use = f", and that its key may use {request.model!r}" if endpoint.api_key_env else ""
        stop(f"{endpoint.base_url} refuses the API key", endpoint.key_advice() + may_use)
    if status in (404, 405, 400, 422) and _is_about_model(body, message):
        stop(
            f"{endpoint.base_url} does not know the model {request.model!r}",
            f"Check the key `model` of the phase that asks, and that {entry}.base_url is the server that has it",
        )
    if status in (404, 405):
        stop(
            f"{endpoint.base_url} has no /chat/completions",
            f"Check that {entry}.base_url is what comes before /chat/completions (most end in /v1), and the key "
            "`model` of the phase that asks",
        )
    if status in (400, 422):
        _stop_at_settings(body, message, endpoint, request, stop)


def _stop_at_settings(
    body: Mapping[str, Any],
    message: str,
    endpoint: Endpoint,
    request: ChatRequest,
    stop: Callable[[str, str], NoReturn],
) -> None:
    parameter = str(body.get("param") or "")
    if request.schema is not None and (parameter.startswith("response_format") or SCHEMA_WORDS.search(message)):
        stop(
            f"{endpoint.base_url} refuses the response schema {request.schema_name!r}",
            "Choose an `endpoint` and a `model` that support structured output (response_format: json_schema); "
            f"{request.model!r} here may not",
        )
    if _asks_for_too_much(message, request):
        stop(
            f"max_tokens is {request.sampling.max_tokens}, which leaves no room for a prompt",
            "Lower the key `max_tokens` of the phase that asks, or choose a model with more context",
        )
    named = _setting(parameter, message)
    if named == "n":
        stop(f"{endpoint.base_url} refuses n", f"Set {endpoint.entry}.supports_n: false")
    if named is not None:
        stop(
            f"{endpoint.base_url} refuses the setting {named}",
            f"Change the key {named} of the phase that asks, or leave it out of its requests: "
            f"extra_body: {{{named}: null}}",
        )


def _setting(parameter: str, message: str) -> str | None:
    """Find the setting that a refusal is about, among those that all requests of a phase share."""
    if parameter in SAME_FOR_ALL:
        return parameter
    if "n_cmpl" in message or "multiple candidates" in message.lower():  # so say llama.cpp and Gemini
        return "n"
    found = PARAMETER.search(message)
    return (found["before"] or found["after"]).lower() if found else None


def no_logprobs(endpoint: Endpoint, request: ChatRequest) -> FinetrailError:
    """Describe that log-probabilities were asked for and none came."""
    return FinetrailError(
        f"{endpoint.base_url} answers without log-probabilities, though logprobs is {request.logprobs}",
        where=place_of(endpoint, request),
        hint="Leave the key `logprobs` of the phase that asks at null, or choose an `endpoint` and a `model` that give "
        "them",
    )


def _is_about_key(status: int, message: str) -> bool:
    if status == 403:
        return not MODERATION_WORDS.search(message)
    return status == 401 or (status == 400 and KEY_WORDS.search(message) is not None)


def _is_about_model(body: Mapping[str, Any], message: str) -> bool:
    if body.get("code") == "model_not_found" or body.get("param") == "model":
        return True
    if body.get("type") == "not_found_error" and message.startswith("model:"):  # so says Anthropic
        return True
    return MODEL_WORDS.search(message) is not None
