"""What an exception of the openai client means: stop the run, try again, or give up the row."""

import errno
import re
from typing import Any

from finetrail.calls.faults import (
    Fault,
    broken_connection,
    fault_of_status,
    no_answer_within,
    nobody_there,
    redact,
    retry_after_seconds,
)
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.refusals import asks_for_too_much, raise_if_all_would_fail
from finetrail.llm.request import ChatRequest
from finetrail.vision.image import ImageTooLarge

CONTEXT_WORDS = re.compile(r"context[_ ](length|window|size)|maximum context|too many tokens|exceeds? .*context", re.I)
NOBODY_THERE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH}


def judge_exception(error: Exception, endpoint: Endpoint, request: ChatRequest, key: str) -> Fault:
    """Decide what follows from an exception of the openai client.

    Raises:
        FinetrailError: the failure concerns every call (key, model, schema, quota): the run stops.
    """
    import openai

    if isinstance(error, ImageTooLarge):
        return Fault("row", f"{error} (raise {endpoint.entry}.{error.key}, or make the image smaller)")
    if isinstance(error, openai.APIStatusError):
        return _judge_status(error, endpoint, request, key)
    chain = _chain(error)
    said = redact(str(chain[-1]), key)
    if any(_is_nobody_there(link) for link in chain):
        return nobody_there(endpoint.base_url, said)
    if any(isinstance(link, TimeoutError) for link in chain):
        return no_answer_within(endpoint.timeout_s)
    if isinstance(error, openai.APIConnectionError):
        return broken_connection(endpoint.base_url, said or type(chain[-1]).__name__)
    return Fault("foreign", f"the reply of {endpoint.base_url} is not readable: {redact(str(error), key)}")


def place_of(endpoint: Endpoint, request: ChatRequest) -> str:
    """Name endpoint, model, phase and row, for messages."""
    return f"endpoint {endpoint.name!r}, model {request.model!r}, phase {request.phase!r}, row {request.row_id}"


def _is_nobody_there(link: BaseException) -> bool:
    return "DNS" in type(link).__name__ or (isinstance(link, OSError) and link.errno in NOBODY_THERE)


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _error_of(body: Any) -> dict[str, Any]:
    """Find the error object in a body: Gemini wraps it in a list, some servers in nothing."""
    while isinstance(body, list) and body:
        body = body[0]
    body = body if isinstance(body, dict) else {}
    inner = body.get("error", body)
    return inner if isinstance(inner, dict) else {"message": inner}


def _judge_status(error: Any, endpoint: Endpoint, request: ChatRequest, key: str) -> Fault:
    status: int = error.status_code
    body = _error_of(error.body)
    message = redact(str(body.get("message") or error.message), key)
    about_context = CONTEXT_WORDS.search(f"{body.get('code')} {message}") is not None
    if not about_context or asks_for_too_much(message, request):
        raise_if_all_would_fail(status, body, message, endpoint, request, where=place_of(endpoint, request))
    fault = fault_of_status(status, f"HTTP {status}: {message}", retry_after_seconds(error.response.headers))
    if fault.kind == "row" and (status == 413 or about_context):
        advice = (
            "shorten the prompt, show fewer or shorter passages, lower max_tokens, or choose a model with more context"
        )
        return Fault("row", f"{fault.error} ({advice})")
    return fault
