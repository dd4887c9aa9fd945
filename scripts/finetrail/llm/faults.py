"""What went wrong with a call, and what follows from it: stop the run, try again, or give up the row."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from finetrail.errors import FinetrailError
from finetrail.llm.endpoints import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

OVERLOADED = {429, 503, 529}
RETRIED = {408, 409, 425}
SCHEMA_WORDS = re.compile(r"response_format|json[_ ]?schema|invalid schema|grammar|guided|structured output", re.I)
CONTEXT_WORDS = re.compile(r"context[_ ](length|window|size)|maximum context|too many tokens|exceeds? .*context", re.I)
KEY_LIKE = re.compile(r"\b(sk|key|pk)-[\w*.-]{6,}")
LONGEST_MESSAGE = 400


@dataclass(frozen=True)
class Fault:
    """One failed attempt.

    `kind`: `retry` (try again), `limited` (the server was asked too much), `unreachable` (nobody listens),
    `row` (only this row is at fault), `unasked` (the budget allows no attempt). `retry_after` is in seconds, as the
    server asked.
    """

    kind: Literal["retry", "limited", "unreachable", "row", "unasked"]
    error: str
    retry_after: float | None = None


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


def judge_exception(error: Exception, endpoint: Endpoint, model: str, key: str) -> Fault:
    """Decide what follows from an exception of the openai client.

    Raises:
        FinetrailError: the failure concerns every call (key, model, schema, quota): the run stops.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        return _judge_status(error, endpoint, model, key)
    chain = _chain(error)
    if any(isinstance(link, ConnectionRefusedError) or "DNS" in type(link).__name__ for link in chain):
        return Fault("unreachable", f"{endpoint.base_url} cannot be reached ({redact(str(chain[-1]), key)})")
    if any(isinstance(link, TimeoutError) for link in chain):
        return Fault("retry", f"no answer within {endpoint.timeout_s:g} s")
    if isinstance(error, openai.APIConnectionError):
        return Fault("retry", f"the connection broke ({redact(str(chain[-1]), key) or type(chain[-1]).__name__})")
    return Fault("retry", f"the reply is not readable: {redact(str(error), key)}")


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _judge_status(error: Any, endpoint: Endpoint, model: str, key: str) -> Fault:
    status: int = error.status_code
    body = error.body if isinstance(error.body, dict) else {}
    message = redact(str(body.get("message") or error.message), key)
    said = f"HTTP {status}: {message}"
    _stop_where_all_would_fail(status, body, message, endpoint, model)
    wait = retry_after_seconds(error.response.headers)
    if status in OVERLOADED:
        return Fault("limited", said, wait)
    if status in RETRIED or status >= 500:
        return Fault("retry", said, wait)
    if status == 413 or CONTEXT_WORDS.search(f"{body.get('code')} {message}"):
        return Fault("row", f"{said} (shorten the prompt or the passages, or choose a model with more context)")
    return Fault("row", said)


def _stop_where_all_would_fail(status: int, body: dict[str, Any], message: str, endpoint: Endpoint, model: str) -> None:
    where = f"endpoint {endpoint.name!r}"
    said = f"(HTTP {status}: {message})"
    if status in (401, 403):
        source = f"the environment variable {endpoint.api_key_env}" if endpoint.api_key_env else "api_key_env"
        raise FinetrailError(
            f"{endpoint.base_url} refuses the API key {said}",
            where=where,
            hint=f"Check {source}, and that the key may use {model!r}",
        )
    if status == 404:
        raise FinetrailError(
            f"{endpoint.base_url} does not know the model {model!r} {said}",
            where=where,
            hint="Check the model's name, and that base_url ends in /v1",
        )
    if status == 402 or body.get("code") == "insufficient_quota" or body.get("type") == "insufficient_quota":
        raise FinetrailError(
            f"the account's credit is used up {said}",
            where=where,
            hint="Add credit, then run again: answers paid so far are kept",
        )
    param = str(body.get("param") or "")
    if status in (400, 422) and (param.startswith("response_format") or SCHEMA_WORDS.search(message)):
        raise FinetrailError(
            f"{endpoint.base_url} refuses the response schema {said}",
            where=where,
            hint=f"Choose a server and a model that support structured output ({model!r} may not)",
        )
