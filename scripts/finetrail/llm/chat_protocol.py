"""The chat protocol: how a model is asked with OpenAI's chat completions, and what its reply says."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finetrail.calls.faults import Failed, Fault, redact
from finetrail.calls.money import Usage
from finetrail.calls.server_protocol import Reply, ServerProtocol
from finetrail.errors import FinetrailError
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.refusals import judge_exception, no_logprobs, place_of
from finetrail.llm.request import ChatRequest
from finetrail.llm.samples import share_usage
from finetrail.llm.structured import NotAsAsked, parse_answer, repair_request
from finetrail.rows.records import canonical_json

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LOGGER = logging.getLogger(__name__)
SHOWN_BYTES = 120
CHARACTERS_A_TOKEN = 4


def read_replies(content: bytes, most: int = 1) -> list[Reply]:
    """Read the body of a chat completion: up to `most` answers, one without text with its problem.

    Raises:
        Failed: it is no completion (to be tried again).
    """
    try:
        body = json.loads(content, parse_constant=lambda _: None)  # a log-probability may be minus infinity
        choices = body["choices"][:most]
        usage = body.get("usage") or {}
        total = Usage(
            usage.get("prompt_tokens") or 0,
            usage.get("completion_tokens") or 0,
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        )
        shares = share_usage(total, len(choices) or 1)
        replies = [_read_choice(body, choice, share) for choice, share in zip(choices, shares, strict=False)]
        if not replies:
            raise LookupError("no choices")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        said = redact(content[:SHOWN_BYTES].decode("utf-8", "replace"), "") or "an empty body"
        raise Failed(Fault("foreign", f"the reply is no chat completion ({error!r}): {said}")) from error
    return replies


def _read_choice(body: Mapping[str, Any], choice: Mapping[str, Any], usage: Usage) -> Reply:
    message = choice["message"]
    text, logprobs = message.get("content") or "", (choice.get("logprobs") or {}).get("content") or None
    canonical_json([text, logprobs]).encode("utf-8")  # what cannot be stored is no reply
    content: dict[str, Any] = {
        "text": text,
        "finish_reason": choice.get("finish_reason") or "unknown",
        "model": _name(body.get("model")) or "unknown",
        "fingerprint": _name(body.get("system_fingerprint")),
        "usage": vars(usage),
        "logprobs": logprobs,
    }
    problem = None
    if not text.strip():
        why = message.get("refusal") or f"finish_reason {content['finish_reason']}"
        problem = Failed(Fault("row", f"the model gave no text ({why})"))
    return Reply(content, content["model"], content["fingerprint"], usage, problem=problem)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


class ChatProtocol(ServerProtocol[ChatRequest]):
    """Asks the models of one endpoint, with one client.

    Args:
        endpoint: where to ask; its `base_url` is set.
        api_key: sent to it, and kept out of every message; empty where it wants none.
    """

    endpoint: Endpoint

    def __init__(self, endpoint: Endpoint, api_key: str) -> None:
        self.endpoint = endpoint
        self._api_key = api_key
        self._warned_of_n = False
        self._client: AsyncOpenAI | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    def asked(self, request: ChatRequest) -> str:
        """Name the model."""
        return request.model

    def expected_tokens(self, request: ChatRequest) -> float:
        """Return what a call may take, as providers count it before they know: the prompt, and the longest answer."""
        characters = sum(len(message.content) for message in request.messages)
        return characters / CHARACTERS_A_TOKEN + (request.sampling.max_tokens or 0) * (1 + len(request.siblings))

    async def send(self, request: ChatRequest) -> bytes:
        """Make one call and return the body of the completion."""
        import httpx2

        try:
            body = request.for_wire(self.endpoint.image_limits)
            async with asyncio.timeout(self.endpoint.timeout_s):
                response = await self._open_client().post("/chat/completions", body=body, cast_to=httpx2.Response)
        except FinetrailError:
            raise
        except Exception as error:
            raise Failed(judge_exception(error, self.endpoint, request, self._api_key)) from error
        return response.content

    def read(self, request: ChatRequest, came: bytes, *, answered: bool) -> list[tuple[ChatRequest, Reply]]:
        """Read the reply to a request, and those to its siblings."""
        replies = read_replies(came, 1 + len(request.siblings))
        if len(replies) <= len(request.siblings):
            self._warn_of_n(request, len(replies))
        asked = (request, *request.siblings)
        return [(one, self._judged(one, reply, one is request)) for one, reply in zip(asked, replies, strict=False)]

    async def answer(self, request: ChatRequest, ask: Callable[[ChatRequest], Awaitable[Reply]]) -> Reply:
        """Ask, and have an answer that does not fit its schema repaired once."""
        reply = await ask(request)
        problem = _misfit(request, reply)
        if problem is None:
            return reply
        if reply.content["finish_reason"] == "length":
            raise Failed(Fault("row", f"the answer was cut at max_tokens and is {problem}")) from problem
        repaired = await ask(repair_request(request, reply.content["text"], problem))
        second = _misfit(request, repaired)
        if second is not None:
            raise Failed(Fault("row", f"the answer is not as asked, nor is its repair: {second}")) from second
        usage = reply.usage + repaired.usage
        content = {**repaired.content, "usage": vars(usage), "repaired_from": reply.content["text"]}
        return replace(repaired, content=content, usage=usage, usd=self._usd(request, usage))

    def nothing_works(self, fault: Fault, request: ChatRequest) -> FinetrailError:
        """Describe a fault that concerns all rows."""
        keep = "answers paid so far are kept"
        hint = f"Check that the server runs, and {self.endpoint.entry}.base_url; {keep}"
        if fault.kind == "foreign":
            hint = (
                f"Check that {self.endpoint.entry}.base_url is the address of an OpenAI-compatible server "
                f"(most end in /v1), with the right one of http and https, and see the server's own log; {keep}"
            )
        return FinetrailError(fault.error, where=place_of(self.endpoint, request), hint=hint)

    def nobody_answered(self, given_up: int, fault: Fault, request: ChatRequest) -> FinetrailError:
        """Describe that so many rows were given up, and none was answered."""
        return FinetrailError(
            f"{given_up} rows were given up and none was answered; the last one: {fault.error}",
            where=place_of(self.endpoint, request),
            hint=f"Check {self.endpoint.entry}, the model and the server's own log",
        )

    def _usd(self, request: ChatRequest, usage: Usage) -> float | None:
        price = self.endpoint.price_of(request.model)
        return price.of(usage) if price else None

    def _judged(self, request: ChatRequest, reply: Reply, is_own: bool) -> Reply:
        """Add a reply's price, and why it is of no use; siblings' replies are not repaired, but asked for anew."""
        content, problem = dict(reply.content), reply.problem
        if request.logprobs is None:
            del content["logprobs"]
        elif content["logprobs"] is None and problem is None:
            problem = no_logprobs(self.endpoint, request)
        if problem is None and not is_own:
            problem = _misfit(request, reply)
        return replace(reply, content=content, usd=self._usd(request, reply.usage), problem=problem)

    def _warn_of_n(self, request: ChatRequest, got: int) -> None:
        if not self._warned_of_n:
            self._warned_of_n = True
            LOGGER.warning(
                "%s: asked for %d answers at once, got %d; the rest is asked for with further calls. If it never gives "
                "more, set %s.supports_n: false",
                place_of(self.endpoint, request),
                1 + len(request.siblings),
                got,
                self.endpoint.entry,
            )

    def _open_client(self) -> "AsyncOpenAI":
        if self._client is None:
            import openai

            logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log a line a call
            local = self.endpoint.kind != "openai"
            self._client = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self._api_key or "none",
                max_retries=0,
                timeout=self.endpoint.timeout_s,
                http_client=openai.DefaultAioHttpClient(trust_env=not local),
            )
        return self._client


def _misfit(request: ChatRequest, reply: Reply) -> NotAsAsked | None:
    """Say why a reply does not fit the schema; None where it does."""
    try:
        parse_answer(reply.content["text"], request.schema)
    except NotAsAsked as problem:
        return problem
    return None
