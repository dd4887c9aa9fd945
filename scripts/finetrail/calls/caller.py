"""One request to its stored answer, in any protocol: turns, attempts, patience, budget, money, and the commit."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from finetrail.calls.commit import Committer
from finetrail.calls.concurrency import Ceilings, Lane, Turn
from finetrail.calls.faults import UNASKED, Failed, Fault
from finetrail.calls.money import Ledger
from finetrail.calls.patience import HOPELESS, backoff_s, jitter_of
from finetrail.calls.segment import UNUSABLE, StoredCall
from finetrail.calls.server_protocol import R, Reply, ServerProtocol, Unusable
from finetrail.errors import FinetrailError

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")
# A server that asks to be left alone for longer than this is quoted in the log.
LONG_WAIT_S = 60.0
REFUSALS_A_RETRY = 8


class Dismissed(FinetrailError):
    """Nobody waits for the answer any more."""

    def __init__(self) -> None:
        super().__init__("nobody waits for the answer any more")


class _Visit:
    """One request's stay in a lane: the turn that it has, and what has been tried for it."""

    def __init__(self, lane: Lane, place: int, turn: Turn) -> None:
        self.lane, self._place, self.turn = lane, place, turn
        self.attempts = self._retries = self._refusals = 0
        self.is_sending = self._is_open = True
        self._waited_s = 0.0
        self._answered = lane.answered

    async def enter(self, tokens: float) -> None:
        """Give back the place, and wait for another turn."""
        self.leave()
        self.turn = await self.lane.enter(self._place, tokens)
        self.is_sending = self._is_open = True

    def succeed(self, tokens: float | None) -> None:
        """The server answered; the place is kept until the answer is stored."""
        self.is_sending = False
        self.lane.succeeded(self.turn, tokens)

    def leave(self, refused_for: float | None = None) -> None:
        """Give back what is still held of the place; a server that was asked too much is left alone for so long."""
        if self.is_sending and refused_for is not None:
            self.lane.refused(self.turn, refused_for)
        elif self.is_sending:
            self.lane.failed(self.turn)
        if self._is_open:
            self.lane.settled()
        self.is_sending = self._is_open = False

    def has_end(self, fault: Fault, most: int) -> bool:
        """Count a fault; refusals for asking too much say little about the row, so they may be more."""
        if fault.kind == "limited":
            self._refusals += 1
            return self._refusals > REFUSALS_A_RETRY * most
        self._retries += 1
        return fault.kind == "row" or self._retries > most

    def wait_after(self, fault: Fault, key: str) -> float:
        """Return the seconds until the next attempt, with a jitter that the request's key decides."""
        tried = self._retries + self._refusals
        if fault.retry_after is not None:
            return fault.retry_after + 0.1 * jitter_of(key, tried) * (1.0 + fault.retry_after)
        return backoff_s(key, tried)

    def bounded(self, wait: float, most: float) -> float | None:
        """Cut a wait that a server asks for, so that it is not waited for longer while it answers nobody.

        Args:
            wait: the seconds that it asks for.
            most: the most seconds since it last answered anybody.

        Returns:
            the seconds to wait; None where it has been waited for long enough.
        """
        if self._answered != self.lane.answered:
            self._answered, self._waited_s = self.lane.answered, 0.0
        if self._waited_s >= most:
            return None
        wait = min(wait, most - self._waited_s)
        self._waited_s += wait
        return wait


class Caller(Generic[R]):
    """Asks one endpoint; lives in one event loop.

    Args:
        protocol: how it is asked.
        committer: makes answers durable.
        ledger: counts attempts and money, and knows the budget.

    Attributes:
        came_along: answers to further requests that came with another's, by key, until they are taken.
    """

    def __init__(self, protocol: ServerProtocol[R], committer: Committer, ledger: Ledger) -> None:
        self.protocol = protocol
        self.endpoint = protocol.endpoint
        self._committer = committer
        self._ledger = ledger
        self.came_along: dict[str, StoredCall] = {}
        self._end: FinetrailError | None = None
        self._lanes: dict[str, Lane] = {}
        self._ceilings = Ceilings.of(self.endpoint.requests_per_minute, self.endpoint.tokens_per_minute)
        self._resting: set[asyncio.Task[Any]] = set()
        self._dismissed: set[asyncio.Task[Any]] = set()
        self._has_told_of_wait = False

    def width(self) -> int:
        """Return how many calls may be under way at once, as the lanes know so far."""
        return sum(int(lane.limit) for lane in list(self._lanes.values()))

    def in_flight(self) -> int:
        """Return how many calls the server has at this moment; safe to ask from another thread."""
        return sum(lane.calling for lane in list(self._lanes.values()))

    def lane(self, request: R) -> Lane:
        """Return where a request waits for its turns."""
        asked = self.protocol.asked(request)
        if asked not in self._lanes:
            self._lanes[asked] = Lane(self.endpoint.max_concurrency, self._ceilings, self._is_over)
        return self._lanes[asked]

    def dismiss(self, task: "asyncio.Task[Any]") -> None:
        """Make no further call in a task that runs `answer`; a call that the server has is waited for, and kept."""
        self._dismissed.add(task)
        if task in self._resting:
            task.cancel()

    async def answer(self, request: R, place: int, turn: Turn | None = None) -> StoredCall:
        """Ask until there is a usable answer and it is stored, or the row is given up.

        Args:
            request: what is asked.
            place: its place in the input.
            turn: its first turn in its lane; None to wait for one here.

        Raises:
            Failed: the row is given up, or the budget allows no call.
            Dismissed: nobody waits for it.
            FinetrailError: the failure concerns every call.
        """
        task = asyncio.current_task()
        assert task is not None
        lane = self.lane(request)
        try:
            if turn is None:
                turn = await self._rest(lane.enter(place, self.protocol.expected_tokens(request)))
            return await self._visited(request, _Visit(lane, place, turn))
        finally:
            self._dismissed.discard(task)

    async def _visited(self, request: R, visit: _Visit) -> StoredCall:
        try:
            return await self._stored_answer(request, visit)
        except Failed as failed:
            failed.attempts = visit.attempts
            raise
        except Dismissed:
            raise
        except FinetrailError as error:
            self._end = self._end or error
            raise
        finally:
            visit.leave()

    async def _rest(self, awaited: Coroutine[Any, Any, T]) -> T:
        """Wait while the server has no call of this task, so that it may be dismissed.

        Raises:
            Dismissed: it was, now or while the server had its call.
        """
        task = asyncio.current_task()
        assert task is not None
        if task in self._dismissed:
            awaited.close()
            raise Dismissed
        self._resting.add(task)
        try:
            return await awaited
        except asyncio.CancelledError:
            if task not in self._dismissed:
                raise
            task.uncancel()
            raise Dismissed from None
        finally:
            self._resting.discard(task)

    def _is_over(self) -> bool:
        return self._end is not None or self._ledger.is_spent()

    def _check_end(self) -> None:
        """Stop where no further call is to be made."""
        if asyncio.current_task() in self._dismissed:
            raise Dismissed
        if self._end is not None:
            raise self._end
        if self._ledger.is_spent():
            raise Failed(UNASKED)

    async def _stored_answer(self, request: R, visit: _Visit) -> StoredCall:
        try:
            reply = await self.protocol.answer(request, partial(self._reply, visit))
        except Unusable as useless:
            self._ledger.count(request.phase, "unusable")
            content = {**useless.content, UNUSABLE: str(useless)}
            await self._committer.commit(StoredCall.of(request, content, useless.usd))
            self._mind_hopeless(visit.lane, useless.cause, request)
            raise useless.cause from None
        except Failed as failed:
            self._mind_hopeless(visit.lane, failed, request)
            raise
        call = await self._committer.commit(StoredCall.of(request, reply.content, reply.usd))
        visit.lane.usable += 1
        return call

    def _mind_hopeless(self, lane: Lane, failed: Exception, request: R) -> None:
        if not isinstance(failed, Failed) or failed.fault is UNASKED:
            return
        lane.given_up += 1
        if lane.given_up >= HOPELESS and not lane.usable and not self._ledger.from_store(request.phase):
            raise self.protocol.nobody_answered(lane.given_up, failed.fault, request) from failed

    async def _reply(self, visit: _Visit, request: R) -> Reply:
        """Ask until there is a reply, and keep its place."""
        if not visit.is_sending:  # the row has had a reply, which was not as it should be
            self._check_end()
            self._ledger.count(request.phase, "repairs")
            await self._rest(visit.enter(self.protocol.expected_tokens(request)))
        while True:
            self._check_end()
            try:
                reply = await self._attempt(visit, request)
            except Failed as failed:
                wait = await self._leave(visit, failed, request)
            else:
                usage = reply.usage
                visit.succeed((usage and usage.prompt_tokens + usage.completion_tokens) or None)
                return reply
            await self._rest(asyncio.sleep(wait))  # others have the place meanwhile
            await self._rest(visit.enter(visit.turn.tokens))

    async def _attempt(self, visit: _Visit, request: R) -> Reply:
        visit.attempts += 1
        self._ledger.count(request.phase, "attempts")
        came = await self.protocol.send(request)
        (_, reply), *others = self.protocol.read(request, came, answered=visit.lane.answered > 0)
        if others:
            await self._keep(others)
        self._pay(request, reply)
        if reply.problem is not None and not reply.kept:
            raise reply.problem
        return reply

    async def _keep(self, others: Sequence[tuple[R, Reply]]) -> None:
        """Store the answers to further requests that came along."""
        for request, reply in others:
            self._pay(request, reply)
        calls = [StoredCall.of(other, reply.content, reply.usd) for other, reply in others if reply.problem is None]
        self.came_along |= {call.key: call for call in await asyncio.gather(*map(self._committer.commit, calls))}

    def _pay(self, request: R, reply: Reply) -> None:
        asked = self.protocol.asked(request)
        phase, mark, usage = request.phase, reply.fingerprint, reply.usage
        self._ledger.pay(phase, asked, reply.answered, mark, usage, reply.usd, reply.estimate)

    async def _leave(self, visit: _Visit, failed: Failed, request: R) -> float:
        """Give the place of a failed attempt to the next request, and return the seconds to wait; the last raises."""
        fault, lane = failed.fault, visit.lane
        hopeless = visit.has_end(fault, self.endpoint.max_retries)
        wait = visit.wait_after(fault, request.key)
        limited = fault.kind == "limited"
        if limited or fault.retry_after is not None:
            bounded = self._bounded(visit, wait, fault)
            if bounded is None and limited:
                raise self._waited_long(wait, fault, request)
            hopeless, wait = hopeless or bounded is None, bounded or 0.0
        if not (hopeless or lane.answered or limited):
            # In its place: until somebody is answered, no further row is sent there.
            await self._rest(asyncio.sleep(wait))
            wait = 0.0
        self._ledger.count(request.phase, "rate_limited" if limited else "errors")
        visit.leave(wait if limited else None)
        if fault.concerns_all(hopeless=hopeless, answered=lane.answered > 0):
            raise self.protocol.nothing_works(fault, request) from failed
        if hopeless:
            raise failed
        return wait

    def _bounded(self, visit: _Visit, wait: float, fault: Fault) -> float | None:
        """Return for how long a server that asks to wait is waited for; None where it has been for long enough."""
        most = self.endpoint.max_wait_s
        bounded = visit.bounded(wait, most)
        if bounded is not None and wait > LONG_WAIT_S and not self._has_told_of_wait:
            self._has_told_of_wait = True
            LOGGER.warning(
                "%s asks to wait for %.0f s, of which %.0f s are waited (llm.max_wait_s: %g); it says: %s",
                self.endpoint.entry,
                wait,
                bounded,
                most,
                fault.error,
            )
        return bounded

    def _waited_long(self, wait: float, fault: Fault, request: R) -> FinetrailError:
        return FinetrailError(
            f"nobody was answered for {self.endpoint.max_wait_s:g} s, and the server asks to wait for {wait:.0f} s "
            f"more; it says: {fault.error}",
            where=f"{self.endpoint.entry}, phase {request.phase!r}, row {request.row_id}",
            hint="Run again later: what was paid is kept; or raise llm.max_wait_s, the longest wait",
        )
