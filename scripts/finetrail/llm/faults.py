"""What went wrong with a call, and what follows from it: stop the run, try again, or give up the row."""

import errno
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from finetrail.errors import FinetrailError
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.refusals import asks_for_too_much, raise_if_all_would_fail
from finetrail.llm.request import ChatRequest
from finetrail.vision.data_url import ImageTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

OVERLOADED = {429, 503, 529}
RETRIED = {408, 409, 425}
CONTEXT_WORDS = re.compile(r"context[_ ](length|window|size)|maximum context|too many tokens|exceeds? .*context", re.I)
NOBODY_THERE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH}
KEY_LIKE = re.compile(r"\b(sk|key|pk)-[\w*.-]{6,}")
LONGEST_MESSAGE = 400


@dataclass(frozen=True)
class Fault:
    """One failed attempt.

    `kind`: `retry` (try again), `limited` (the server was asked too much), `unreachable` (nobody listens),
    `foreign` (who listens does not speak the protocol), `row` (only this row is at fault), `unasked` (the budget
    allows no attempt). `retry_after` is in seconds, as the server asked.
    """

    kind: Literal["retry", "limited", "unreachable", "foreign", "row", "unasked"]
    error: str
    retry_after: float | None = None

    def concerns_all(self, *, hopeless: bool, answered: bool) -> bool:
        """Say whether every other row would meet it too.

        Args:
            hopeless: this row has been tried often enough.
            answered: the server has answered some row.
        """
        if self.kind == "unreachable":
            return hopeless or not answered
        return self.kind == "foreign" and hopeless and not answered


UNASKED = Fault("unasked", "the budget of the run is spent")


class Failed(Exception):
    """An attempt failed in a way that does not stop the run."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.error)
        self.fault = fault


def retry_after_seconds(headers: "Mapping[str, str]", now: datetime | None = None) -> float | None:
    """Read for how long a server asks to wait: `retry-after-ms` or `Retry-After` (RFC 9110), in seconds."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        value = headers.get("retry-after")
        if not value:
            return None
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
            return float(value)
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def redact(text: str, key: str) -> str:
    """Cut a server's message to a readable length and take out whatever is, or looks like, a key."""
    if key and key != "none":
        text = text.replace(key, "<key>")
    text = " ".join(KEY_LIKE.sub("<key>", text).split())
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."


def judge_exception(error: Exception, endpoint: Endpoint, request: ChatRequest, key: str) -> Fault:
    """Decide what follows from an exception of the openai client.

    Raises:
        FinetrailError: the failure concerns every call (key, model, schema, quota): the run stops.
    """
    import openai

    if isinstance(error, ImageTooLarge):
        return Fault("row", f"{error} (raise llm.endpoints.{endpoint.name}.{error.key}, or make the image smaller)")
    if isinstance(error, openai.APIStatusError):
        return _judge_status(error, endpoint, request, key)
    chain = _chain(error)
    if any(_is_nobody_there(link) for link in chain):
        return Fault("unreachable", f"{endpoint.base_url} cannot be reached ({redact(str(chain[-1]), key)})")
    if any(isinstance(link, TimeoutError) for link in chain):
        return Fault("retry", f"no answer within {endpoint.timeout_s:g} s")
    if isinstance(error, openai.APIConnectionError):
        said = redact(str(chain[-1]), key) or type(chain[-1]).__name__
        return Fault("foreign", f"{endpoint.base_url}: the connection broke ({said})")
    return Fault("foreign", f"the reply of {endpoint.base_url} is not readable: {redact(str(error), key)}")


def nothing_works(fault: Fault, endpoint: Endpoint, request: ChatRequest) -> FinetrailError:
    """Describe a fault that `concerns_all`."""
    keep = "answers paid so far are kept"
    hint = f"Check that the server runs, and llm.endpoints.{endpoint.name}.base_url; {keep}"
    if fault.kind == "foreign":
        hint = (
            f"Check that llm.endpoints.{endpoint.name}.base_url is the address of an OpenAI-compatible server "
            f"(most end in /v1), with the right one of http and https, and see the server's own log; {keep}"
        )
    return FinetrailError(fault.error, where=place_of(endpoint, request), hint=hint)


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
    said = f"HTTP {status}: {message}"
    about_context = CONTEXT_WORDS.search(f"{body.get('code')} {message}") is not None
    if not about_context or asks_for_too_much(message, request):
        raise_if_all_would_fail(status, body, message, endpoint, request, where=place_of(endpoint, request))
    wait = retry_after_seconds(error.response.headers)
    if status in OVERLOADED:
        return Fault("limited", said, wait)
    if status in RETRIED or status >= 500:
        return Fault("retry", said, wait)
    if status == 413 or about_context:
        return Fault(
            "row",
            f"{said} (shorten the prompt, show fewer or shorter passages, lower max_tokens, or choose a model with "
            "more context)",
        )
    return Fault("row", said)
