"""One request to its answer: attempts, patience, the check of what came back, one repair, and the commit."""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from finetrail.calls.commit import Committer
from finetrail.calls.concurrency import Ceilings, Lane, Turn
from finetrail.calls.money import Ledger, Usage
from finetrail.calls.segment import StoredCall
from finetrail.errors import FinetrailError
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.faults import UNASKED, Failed, Fault, judge_exception, nothing_works, place_of, redact
from finetrail.llm.refusals import require_logprobs
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest
from finetrail.llm.samples import share_usage
from finetrail.llm.structured import NotAsAsked, parse_answer, repair_request
from finetrail.rows.records import canonical_json, derive_seed

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LOGGER = logging.getLogger(__name__)
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
REFUSALS_A_RETRY = 8
HOPELESS = 20
SHOWN_BYTES = 120
CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Reply:
    """What a server said to one attempt; `logprobs` has an entry a token, where they were asked for."""

    text: str
    finish_reason: str
    model: str
    fingerprint: str | None
    usage: Usage
    logprobs: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class NoText:
    """A reply without text, which is paid all the same; `error` says why it is its row's fault."""

    reply: Reply
    error: str


@dataclass
class _Patience:
    """What has been tried for one row."""

    attempts: int = 0
    retries: int = 0
    refusals: int = 0

    def has_end(self, fault: Fault, most: int) -> bool:
        """Count a fault; refusals for asking too much say little about the row, so they may be more."""
        if fault.kind == "limited":
            self.refusals += 1
            return self.refusals > REFUSALS_A_RETRY * most
        self.retries += 1
        return fault.kind == "row" or self.retries > most


def read_replies(content: bytes, most: int = 1) -> list[Reply | NoText]:
    """Read the body of a chat completion: up to `most` answers, or why one has no text.

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


def _read_choice(body: Mapping[str, Any], choice: Mapping[str, Any], usage: Usage) -> Reply | NoText:
    message = choice["message"]
    reply = Reply(
        message.get("content") or "",
        choice.get("finish_reason") or "unknown",
        _name(body.get("model")) or "unknown",
        _name(body.get("system_fingerprint")),
        usage,
        (choice.get("logprobs") or {}).get("content") or None,
    )
    canonical_json([reply.text, reply.logprobs]).encode("utf-8")  # what cannot be stored is no reply
    if not reply.text.strip():
        why = message.get("refusal") or f"finish_reason {reply.finish_reason}"
        return NoText(reply, f"the model gave no text ({why})")
    return reply


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


class Caller:
    """Asks one endpoint, with one client; lives in one event loop.

    Args:
        endpoint: where to ask; its `base_url` is set.
        api_key: sent to it, and kept out of every message.
        committer: makes answers durable.
        ledger: counts attempts and money.

    Attributes:
        came_along: stored answers to siblings of a request, by key, until they are taken.
    """

    def __init__(self, endpoint: Endpoint, api_key: str, committer: Committer, ledger: Ledger) -> None:
        self.endpoint = endpoint
        self._api_key = api_key
        self._committer = committer
        self._ledger = ledger
        self.came_along: dict[str, ChatAnswer] = {}
        self._warned_of_n = False
        self._lanes: dict[str, Lane] = {}
        self._ceilings = Ceilings.of(endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._client: AsyncOpenAI | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    def width(self) -> int:
        """Return how many calls may be under way at once, as the lanes know so far."""
        return sum(int(lane.limit) for lane in list(self._lanes.values()))

    def in_flight(self) -> int:
        """Return how many calls the server has at this moment."""
        return sum(lane.calling for lane in list(self._lanes.values()))

    def queue(self, request: ChatRequest, place: int, turn: Turn) -> None:
        """Let a request wait for its first turn; lower places go first."""
        self._lane(request.model).queue(place, turn)

    def withdraw(self, request: ChatRequest, turn: Turn) -> None:
        """Take back a turn that nothing was sent for."""
        self._lane(request.model).withdraw(turn)

    async def answer(self, request: ChatRequest, place: int, turn: Turn) -> ChatAnswer | CallFailure:
        """Ask until there is a usable answer and it is stored, or the row is given up.

        Args:
            request: what is asked.
            place: its place in the input.
            turn: its first turn, see `queue`.

        Raises:
            FinetrailError: the failure concerns every call.
        """
        lane = self._lane(request.model)
        patience = _Patience()
        try:
            reply, extra = await self._usable_reply(request, place, lane, turn, patience)
        except Failed as failed:
            unasked = failed.fault is UNASKED
            if not unasked:
                self._mind_hopeless(lane, failed.fault, request)
            return CallFailure(request.row_id, request.key, failed.fault.error, patience.attempts, unasked)
        try:
            call = self._describe(request, reply, extra)
            await self._committer.commit(call)
        finally:
            lane.settled()
        return answer_of(call, request, from_store=False)

    def _lane(self, model: str) -> Lane:
        if model not in self._lanes:
            self._lanes[model] = Lane(self.endpoint.max_concurrency, self._ceilings, self._ledger.is_spent)
        return self._lanes[model]

    async def _usable_reply(
        self, request: ChatRequest, place: int, lane: Lane, turn: Turn, patience: _Patience
    ) -> tuple[Reply, dict[str, Any]]:
        """Return a reply that fits the schema; the lane still counts it as open."""
        reply = await self._reply(request, place, lane, turn, patience)
        try:
            parse_answer(reply.text, request.schema)
        except NotAsAsked as problem:
            lane.settled()
            if reply.finish_reason == "length":
                raise Failed(Fault("row", f"the answer was cut at max_tokens and is {problem}")) from problem
            self._ledger.count(request.phase, "repairs")
            again = repair_request(request, reply.text, problem)
            turn = await lane.enter(place, expected_tokens(again))
            repaired = await self._reply(again, place, lane, turn, patience)
            try:
                parse_answer(repaired.text, request.schema)
            except NotAsAsked as second:
                lane.settled()
                raise Failed(Fault("row", f"the answer is not as asked, nor is its repair: {second}")) from second
            return replace(repaired, usage=reply.usage + repaired.usage), {"repaired_from": reply.text}
        except BaseException:
            lane.settled()
            raise
        return reply, {}

    async def _reply(self, request: ChatRequest, place: int, lane: Lane, turn: Turn, patience: _Patience) -> Reply:
        while True:
            if self._ledger.is_spent():
                lane.failed(turn)
                lane.settled()
                raise Failed(UNASKED)
            patience.attempts += 1
            self._ledger.count(request.phase, "attempts")
            try:
                reply = await self._attempt(request)
            except Failed as failed:
                hopeless = patience.has_end(failed.fault, self.endpoint.max_retries)
                wait = _wait_after(failed.fault, request, patience)
                if not (hopeless or lane.answered or failed.fault.kind == "limited"):
                    wait = await self._wait_in_place(wait, lane, turn)
                self._leave(lane, turn, failed.fault, wait, request.phase)
                if failed.fault.concerns_all(hopeless=hopeless, answered=lane.answered > 0):
                    raise nothing_works(failed.fault, self.endpoint, request) from failed
                if hopeless:
                    raise
            except BaseException:
                lane.failed(turn)
                lane.settled()
                raise
            else:
                lane.succeeded(turn, reply.usage.prompt_tokens + reply.usage.completion_tokens or None)
                self._pay(request, reply)
                return reply
            await asyncio.sleep(wait)  # others have the place meanwhile
            turn = await lane.enter(place, turn.tokens)

    async def _attempt(self, request: ChatRequest) -> Reply:
        import httpx2

        try:
            body = request.for_wire(self.endpoint.image_limits)
            async with asyncio.timeout(self.endpoint.timeout_s):
                response = await self._open_client().post("/chat/completions", body=body, cast_to=httpx2.Response)
        except (FinetrailError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise Failed(judge_exception(error, self.endpoint, request, self._api_key)) from error
        reply, *others = read_replies(response.content, 1 + len(request.siblings))
        await self._keep_others(request, others)
        if isinstance(reply, NoText):
            self._pay(request, reply.reply)
            raise Failed(Fault("row", reply.error))
        if request.logprobs is not None and reply.logprobs is None:
            require_logprobs(self.endpoint, request, where=place_of(self.endpoint, request))
        return reply

    async def _keep_others(self, request: ChatRequest, replies: Sequence[Reply | NoText]) -> None:
        """Store the answers to a request's siblings that came with its own and are as asked."""
        if len(replies) < len(request.siblings) and not self._warned_of_n:
            self._warned_of_n = True
            LOGGER.warning(
                "%s: asked for %d answers at once, got %d; the rest is asked for with further calls. If it never gives "
                "more, set llm.endpoints.%s.supports_n: false",
                place_of(self.endpoint, request),
                1 + len(request.siblings),
                1 + len(replies),
                self.endpoint.name,
            )
        calls = []
        for sibling, reply in zip(request.siblings, replies, strict=False):
            self._pay(sibling, reply.reply if isinstance(reply, NoText) else reply)
            if isinstance(reply, Reply) and (sibling.logprobs is None or reply.logprobs is not None):
                with contextlib.suppress(NotAsAsked):
                    parse_answer(reply.text, sibling.schema)
                    calls.append((sibling, self._describe(sibling, reply, {})))
        await asyncio.gather(*(self._committer.commit(call) for _, call in calls))
        for sibling, call in calls:
            self.came_along[sibling.key] = answer_of(call, sibling, from_store=False)

    def _pay(self, request: ChatRequest, reply: Reply) -> None:
        self._ledger.pay(
            request.phase,
            request.model,
            reply.model,
            reply.fingerprint,
            reply.usage,
            self.endpoint.price_of(request.model),
        )

    def _leave(self, lane: Lane, turn: Turn, fault: Fault, wait: float, phase: str) -> None:
        """Give the place of a failed call to the next one."""
        if fault.kind == "limited":
            self._ledger.count(phase, "rate_limited")
            lane.refused(turn, wait)
        else:
            self._ledger.count(phase, "errors")
            lane.failed(turn)
        lane.settled()

    @staticmethod
    async def _wait_in_place(wait: float, lane: Lane, turn: Turn) -> float:
        """Keep the turn while waiting: until somebody is answered, no further row is sent to such a server."""
        try:
            await asyncio.sleep(wait)
        except BaseException:
            lane.failed(turn)
            lane.settled()
            raise
        return 0.0

    def _mind_hopeless(self, lane: Lane, fault: Fault, request: ChatRequest) -> None:
        lane.given_up += 1
        if not lane.answered and lane.given_up >= HOPELESS:
            raise FinetrailError(
                f"{lane.given_up} rows were given up and none was answered; the last one: {fault.error}",
                where=place_of(self.endpoint, request),
                hint=f"Check llm.endpoints.{self.endpoint.name}, the model and the server's own log",
            )

    def _describe(self, request: ChatRequest, reply: Reply, extra: dict[str, Any]) -> StoredCall:
        answer = vars(reply) | {"usage": vars(reply.usage)} | extra
        if request.logprobs is None:
            del answer["logprobs"]
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        price = self.endpoint.price_of(request.model)
        usd = price.of(reply.usage) if price else None
        paid = {"phase": request.phase, "row": request.row_id, "at": now, "usd": usd}
        return StoredCall.make(request.key, answer, request.canonical, paid)

    def _open_client(self) -> "AsyncOpenAI":
        if self._client is None:
            import openai

            logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log a line a call
            local = self.endpoint.kind != "openai"
            self._client = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self._api_key,
                max_retries=0,
                timeout=self.endpoint.timeout_s,
                http_client=openai.DefaultAioHttpClient(trust_env=not local),
            )
        return self._client


def expected_tokens(request: ChatRequest) -> float:
    """Return what a call may take, as providers count it before they know: the prompt, and the longest answer."""
    characters = sum(len(message.content) for message in request.messages)
    return characters / CHARACTERS_A_TOKEN + (request.sampling.max_tokens or 0) * (1 + len(request.siblings))


def _wait_after(fault: Fault, request: ChatRequest, patience: _Patience) -> float:
    """Return the seconds until the next attempt, with a jitter that the request decides."""
    tried = patience.retries + patience.refusals
    jitter = random.Random(derive_seed(request.key, tried)).random()
    if fault.retry_after is not None:
        return fault.retry_after + 0.1 * jitter * (1.0 + fault.retry_after)
    wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tried - 1, 10))
    return wait * (0.5 + 0.5 * jitter)


def answer_of(call: StoredCall, request: ChatRequest, *, from_store: bool) -> ChatAnswer:
    """Turn a stored call into the answer to a request.

    Raises:
        NotAsAsked: the text does not parse, which no stored answer's does.
    """
    said = call.answer
    return ChatAnswer(
        row_id=request.row_id,
        key=call.key,
        answer_sha256=call.answer_sha256,
        text=said["text"],
        parsed=None if request.schema is None else json.loads(said["text"]),
        finish_reason=said["finish_reason"],
        model=said["model"],
        fingerprint=said["fingerprint"],
        usage=Usage(**said["usage"]),
        from_store=from_store,
        logprobs=said.get("logprobs"),
    )
