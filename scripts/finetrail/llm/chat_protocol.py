"""The chat protocol: how a model is asked with OpenAI's chat completions, and what its reply says."""

import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from finetrail.calls.cleaning import Cleaner
from finetrail.calls.faults import Failed, Fault, status_of_error
from finetrail.calls.http_client import Came, HttpClient
from finetrail.calls.money import Usage
from finetrail.calls.server_protocol import Reply, ServerProtocol, Unusable
from finetrail.config.sections.hosts import host_of
from finetrail.errors import FinetrailError
from finetrail.llm.completion import Bounds, ErrorWithin, read_replies
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.refusals import judge_refusal, no_logprobs, place_of
from finetrail.llm.repair import combined, misfit, quoted, repair_request
from finetrail.llm.request import ChatRequest
from finetrail.vision.data_url import ImageTooLarge

LOGGER = logging.getLogger(__name__)
CHARACTERS_A_TOKEN = 4
# What bounds the tokens of a prompt: so many a character, so many an image, and what a server adds by itself.
MOST_TOKENS_A_CHARACTER = 4
MOST_TOKENS_AN_IMAGE = 100_000
MOST_TOKENS_ADDED = 10_000
# A server may count the end of each answer.
END_TOKENS = 16
UNBOUNDED_ANSWER = 131_072
# What bounds the body of a reply, in bytes.
LEAST_BODY = 4 << 20
BYTES_A_TOKEN = 64
BYTES_A_LOGPROB = 512
LENGTHS = ("max_completion_tokens", "max_tokens")
# What OpenAI's own client sends from the environment, to OpenAI only.
OPENAI_HOST = "api.openai.com"
OPENAI_HEADERS = {"OPENAI_ORG_ID": "OpenAI-Organization", "OPENAI_PROJECT_ID": "OpenAI-Project"}


class ChatProtocol(ServerProtocol[ChatRequest]):
    """Asks the models of one endpoint, with one client.

    Args:
        endpoint: where to ask; its `base_url` is set.
        api_key: sent to it, and kept out of all that it says; empty where it wants none.

    Raises:
        FinetrailError: the environment names a proxy that cannot be used.
    """

    endpoint: Endpoint

    def __init__(self, endpoint: Endpoint, api_key: str) -> None:
        base_url = (endpoint.base_url or "").rstrip("/")
        self.endpoint = endpoint
        self._cleaner = Cleaner(api_key)
        self._client = HttpClient(endpoint, base_url, self._cleaner)
        self._url = f"{base_url}/chat/completions"
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        if host_of(base_url) == OPENAI_HOST:
            self._headers |= {header: os.environ[name] for name, header in OPENAI_HEADERS.items() if name in os.environ}
        self._warned_of_n = False

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def asked(self, request: ChatRequest) -> str:
        """Name the model."""
        return request.model

    def expected_tokens(self, request: ChatRequest) -> float:
        """Return what a call may take, as providers count it before they know: the prompt, and the longest answer."""
        return _characters(request) / CHARACTERS_A_TOKEN + (request.sampling.max_tokens or 0) * _answers(request)

    async def send(self, request: ChatRequest) -> Came:
        """Make one call and return the reply."""
        try:
            wire = request.for_wire(self.endpoint.image_limits)
        except ImageTooLarge as error:
            said = f"{error} (raise {self.endpoint.entry}.{error.key}, or make the image smaller)"
            raise Failed(Fault("row", said)) from error
        body = json.dumps(wire, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
        return await self._client.call("POST", self._url, headers=self._headers, body=body, most=_most_bytes(request))

    def read(self, request: ChatRequest, came: Came, *, answered: bool) -> list[tuple[ChatRequest, Reply]]:
        """Read the reply to a request, and those to its siblings."""
        if not 200 <= came.status < 300:
            raise Failed(judge_refusal(came.status, _json_of(came.body), came, self.endpoint, request, self._cleaner))
        try:
            replies = read_replies(came.body, self._cleaner, _bounds(request))
        except ErrorWithin as found:
            raise Failed(self._judge_within(found.error, came, request)) from None
        if len(replies) <= len(request.siblings):
            self._warn_of_n(request, len(replies))
        asked = (request, *request.siblings)
        return [(one, self._judged(one, reply, one is request)) for one, reply in zip(asked, replies, strict=False)]

    async def answer(self, request: ChatRequest, ask: Callable[[ChatRequest], Awaitable[Reply]]) -> Reply:
        """Ask, and have an answer that does not fit its schema repaired once."""
        reply = await super().answer(request, ask) if request.heard is None else _heard(request.heard)
        text = reply.content["text"]
        problem = misfit(request, text)
        if problem is None:
            return reply
        if reply.content["finish_reason"] == "length":
            fault = Fault("row", f"the answer was cut at max_tokens and is {problem}; {quoted(text)}")
            raise Unusable(Failed(fault), reply.content, reply.usd)
        try:
            repaired = await ask(repair_request(request, text, problem))
        except (Failed, FinetrailError) as error:
            if request.heard is not None:
                raise
            # What was said stays, so that another run pays for the repair only.
            raise Unusable(error, {**reply.content, "unrepaired": True}, reply.usd) from error
        both = combined(reply, repaired)
        usd = self._usd(request, both.usage)
        if repaired.problem is not None:
            raise Unusable(repaired.problem, both.content, usd)
        second = misfit(request, repaired.content["text"])
        if second is not None:
            said = f"the answer is not as asked, nor is its repair: {second}; {quoted(repaired.content['text'])}"
            raise Unusable(Failed(Fault("row", said)), both.content, usd)
        return replace(both, usd=usd)

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
            hint=f"Check {self.endpoint.entry}, the model and the server's own log; what was paid is kept",
        )

    def _judge_within(self, error: Any, came: Came, request: ChatRequest) -> Fault:
        """Decide what follows from an error within a reply of status 200."""
        status = status_of_error(error)
        if status is None:
            said = error.get("message", error) if isinstance(error, dict) else error
            return Fault("foreign", f"the reply is an error: {self._cleaner.message(said)}")
        return judge_refusal(status, error, came, self.endpoint, request, self._cleaner)

    def _usd(self, request: ChatRequest, usage: Usage | None) -> float | None:
        price = self.endpoint.price_of(request.model)
        return price.of(usage) if price else None

    def _judged(self, request: ChatRequest, reply: Reply, is_own: bool) -> Reply:
        """Add a reply's price, and why it is of no use; siblings' replies are not repaired, but asked for anew."""
        content, problem, kept = dict(reply.content), reply.problem, is_own
        if request.logprobs is None:
            del content["logprobs"]
        elif content["logprobs"] is None and problem is None:
            problem, kept = no_logprobs(self.endpoint, request), False
        if problem is None and not is_own:
            error = misfit(request, content["text"])
            problem = None if error is None else Failed(Fault("row", str(error)))
        usd = self._usd(request, reply.usage)
        expected = Usage(round(_characters(request) / CHARACTERS_A_TOKEN), request.sampling.max_tokens or 0)
        estimate = (self._usd(request, expected) or 0.0) if usd is None else usd
        return replace(reply, content=content, usd=usd, estimate=estimate, problem=problem, kept=kept)

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


def _answers(request: ChatRequest) -> int:
    return 1 + len(request.siblings)


def _characters(request: ChatRequest) -> int:
    return sum(len(message.content) for message in request.messages)


def _longest(request: ChatRequest) -> int | None:
    """Return the longest answer that is asked for, in tokens; None where the server decides."""
    given = request.sampling.settings() | dict(request.extra_body)
    return next((given[name] for name in LENGTHS if isinstance(given.get(name), int)), None)


def _bounds(request: ChatRequest) -> Bounds:
    """Say how much a reply can have taken."""
    answers, longest = _answers(request), _longest(request)
    schema = len(json.dumps(request.schema)) if request.schema else 0
    images = sum(len(message.images) for message in request.messages)
    prompt = MOST_TOKENS_ADDED + MOST_TOKENS_A_CHARACTER * (_characters(request) + schema)
    return Bounds(
        answers,
        prompt + images * MOST_TOKENS_AN_IMAGE,
        answers * ((UNBOUNDED_ANSWER if longest is None else longest) + END_TOKENS),
    )


def _most_bytes(request: ChatRequest) -> int:
    each = BYTES_A_TOKEN + (0 if request.logprobs is None else BYTES_A_LOGPROB * (1 + request.logprobs))
    return LEAST_BODY + _bounds(request).completion_tokens * each


def _json_of(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _heard(content: Mapping[str, Any]) -> Reply:
    """Return a stored reply that only waits for its repair."""
    usage = content["usage"] and Usage(**content["usage"])
    return Reply(content, content["model"], content["fingerprint"], usage)
