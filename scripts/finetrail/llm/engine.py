"""The engine: requests in, answers out in the same order, each paid for at most once.

What the store holds is served without a call (and without importing a client); the rest goes to its
endpoint with bounded concurrency, from an event loop in a thread of its own. Memory holds a window of
requests, never all.
"""

import asyncio
import gc
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Any, Literal

from finetrail.calls.budget import Budget
from finetrail.calls.caller import Caller, Dismissed
from finetrail.calls.cleaning import Cleaner
from finetrail.calls.commit import Committer
from finetrail.calls.concurrency import Turn
from finetrail.calls.eta import Outlook
from finetrail.calls.faults import UNASKED, Failed
from finetrail.calls.future import Promise
from finetrail.calls.money import Ledger, Price
from finetrail.calls.segment import UNUSABLE, StoredCall
from finetrail.calls.store import ALREADY_PAID, CallStore, not_stored
from finetrail.errors import FinetrailError
from finetrail.llm.chat_protocol import ChatProtocol
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.refusals import place_of
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest
from finetrail.llm.samples import Gathering, Outcome
from finetrail.llm.structured import NotAsAsked
from finetrail.serving.server_process import serve

LOGGER = logging.getLogger(__name__)
Mode = Literal["live", "replay"]
WINDOW_A_CALL = 64
SMALLEST_WINDOW = 1024
LONGEST_ERROR = 1000


class _Slot:
    """A place in the window: a request's identity and its outcome to be."""

    __slots__ = ("key", "phase", "promise", "row_id", "shared")

    def __init__(self, request: ChatRequest, key: str, promise: Promise[Outcome], *, shared: bool = False) -> None:
        self.row_id, self.phase, self.key = request.row_id, request.phase, key
        self.promise = promise
        self.shared = shared


class Engine:
    """Answers requests from the store or from their endpoints. Use as a context manager.

    Args:
        endpoints: where requests may go, by the name that they give.
        store: the paid answers; closed by whoever opened it.
        mode: `live`, or `replay`, which makes no call.
        budget: what the jobs of this run may pay; once it is spent, what is not stored is left unasked.
        ask_again: replies that are stored as of no use are asked for again.

    Attributes:
        outlook: knows what the requests so far needed.
        on_failure: told of each row that has no answer, with the error; what it raises stops the run.

    Servers of our own are started with the first call that needs them, by the thread that iterates `run`,
    and live until the engine is closed.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        store: CallStore,
        *,
        mode: Mode = "live",
        budget: Budget | None = None,
        ask_again: bool = False,
    ) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._facts: dict[tuple[str, str, str | None], dict[str, Any]] = {}
        self._store = store
        self._mode = mode
        self._asks_again = ask_again
        self.on_failure: Callable[[str, str], None] | None = None
        self.budget = budget
        self._ledger = Ledger(budget)
        self.outlook = Outlook()
        self._in_flight: dict[str, Promise[Outcome]] = {}
        self._gathering = Gathering(lambda *call: self._behind().submit(*call))
        self._backstage: _Backstage | None = None
        self._servers = ExitStack()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Begin no further call, keep what those under way bring, stop our servers; an interrupt ends the wait."""
        backstage, self._backstage = self._backstage, None
        try:
            if backstage is not None:
                backstage.close()
        finally:
            self._servers.close()
            if self.budget is not None:
                self.budget.close()

    @property
    def totals(self) -> dict[str, Any]:
        """Calls, tokens and US dollars so far, in all, by phase, and by the model that answered."""
        return self._ledger.totals()

    def in_flight(self) -> int:
        """Return how many calls servers have at this moment; safe to ask from another thread."""
        backstage = self._backstage
        return 0 if backstage is None else sum(caller.in_flight() for caller in list(backstage.callers.values()))

    def bind(self, request: ChatRequest) -> ChatRequest:
        """Add what the endpoint contributes to the key; `run` does this itself.

        Raises:
            FinetrailError: there is no such endpoint.
        """
        if request.endpoint not in self._endpoints:
            raise FinetrailError(
                f"there is no endpoint {request.endpoint!r}",
                where=f"phase {request.phase!r}",
                hint=f"Known: {', '.join(sorted(self._endpoints))}",
            )
        asked = (request.endpoint, request.model, request.revision)
        facts = self._facts.get(asked)
        if facts is None:
            facts = self._facts[asked] = self._endpoints[request.endpoint].facts(request.model, request.revision)
        return replace(request, facts={**request.facts, **facts}) if facts else request

    def price_of(self, request: ChatRequest) -> Price | None:
        """Return what the request's model costs; None where the price table does not name it."""
        return self._endpoints[request.endpoint].price_of(request.model)

    def calls_of(self, phase: str, model: str, most: int) -> Iterator[StoredCall]:
        """Yield some stored calls that a phase paid to a model, the newest segments' first."""
        found = (c for c in self._store.newest() if c.paid["phase"] == phase and c.request["model"] == model)
        return islice(found, most)

    def stored(self, request: ChatRequest) -> StoredCall | None:
        """Find the reply that `run` would go by without a call.

        Raises:
            UnicodeEncodeError: a message is no text, and no call would be made.
        """
        request = self.bind(request)
        call = self._store.get(request.key)
        if call is None:
            return None
        outcome = self._recalled(call, request)
        return None if isinstance(outcome, ChatRequest) else call

    def run(self, requests: Iterable[ChatRequest]) -> Generator[Outcome, None, None]:
        """Answer requests, in their order, while at most a window of them is held.

        Yields:
            for each request its answer, or the failure that puts its row into quarantine.

        Raises:
            FinetrailError: a failure that concerns every call; in replay, an answer that is missing.
        """
        window: deque[_Slot] = deque()
        source = iter(requests)
        exhausted = False
        try:
            while True:
                while not exhausted and len(window) < self._window():
                    request = next(source, None)
                    if request is None:
                        exhausted = True
                    else:
                        window.append(self._begin(request))
                        if window[0].promise.done():
                            break
                if not window:
                    return
                if exhausted or self._gathering.holds(window[0].promise):
                    self._gathering.send()
                yield self._finish(window.popleft())
        finally:
            self._abandon(window)

    def _window(self) -> int:
        """Return how many requests may be held: as many as keep the calls coming while the first is tried again."""
        width = self._backstage.width() if self._backstage is not None else 0
        return max(SMALLEST_WINDOW, WINDOW_A_CALL * width)

    def _begin(self, request: ChatRequest) -> _Slot:
        request = self.bind(request)
        try:
            key = request.key
        except UnicodeEncodeError as error:
            failure = CallFailure(request.row_id, "", f"a message is no text: {error}", 0)
            return _Slot(request, "", _kept(failure))
        under_way = self._in_flight.get(key)
        if under_way is not None and not under_way.done():
            self.outlook.add(missing=False)
            return _Slot(request, key, under_way, shared=True)
        stored = self._store.get(key)
        recalled = self._recalled(stored, request) if stored is not None else request
        if not isinstance(recalled, ChatRequest):
            return self._slot_of(recalled, request, key)
        request = recalled
        if self._mode == "replay":
            raise not_stored(request, "answer")
        if self._ledger.is_spent():
            return _Slot(request, key, _kept(CallFailure(request.row_id, key, UNASKED.error, 0, unasked=True)))
        self.outlook.add(missing=True)
        promise: Promise[Outcome] = Promise()
        self._in_flight[key] = promise
        alone = not self._endpoints[request.endpoint].supports_n
        self._gathering.add(self._caller(request), request, promise, alone=alone)
        return _Slot(request, key, promise)

    def _recalled(self, call: StoredCall, request: ChatRequest) -> Outcome | ChatRequest:
        """Return what a stored reply is: the answer, a failure that was paid for, or the request that is still to ask.

        Raises:
            FinetrailError: the record holds no reply of a model.
        """
        try:
            return ChatAnswer.of(call, request, from_store=True)
        except NotAsAsked as problem:
            is_live = self._mode == "live"
            if is_live and call.answer.get("unrepaired"):
                return replace(request, heard=call.answer)
            if is_live and self._asks_again:
                return request
            why = call.answer.get(UNUSABLE) or str(problem)
        except (LookupError, TypeError, AttributeError) as error:
            raise FinetrailError(
                f"the call store holds no reply of a model for this request (call {call.key[:12]}): {error!r}",
                where=f"phase {request.phase!r}, row {request.row_id}",
                hint="python -m finetrail.calls.inspect_store verify names segments that were brought from elsewhere",
            ) from error
        said = f"{Cleaner().message(why, LONGEST_ERROR)} ({ALREADY_PAID})"
        return CallFailure(request.row_id, call.key, said, 0)

    def _slot_of(self, recalled: Outcome, request: ChatRequest, key: str) -> _Slot:
        """Return the place of a request that the store has a reply to."""
        self.outlook.add(missing=False)
        if isinstance(recalled, CallFailure):
            self._tell(recalled)
        else:
            self._ledger.count(request.phase, "from_store")
        return _Slot(request, key, _kept(recalled))

    def _tell(self, failure: CallFailure) -> None:
        if self.on_failure is not None and not failure.unasked:
            self.on_failure(failure.row_id, failure.error)

    def _finish(self, slot: _Slot) -> Outcome:
        try:
            outcome = slot.promise.result()
        except CancelledError as error:
            raise FinetrailError("the engine was closed before the answer came", where=f"row {slot.row_id}") from error
        finally:
            self._forget(slot)
        if isinstance(outcome, CallFailure):
            self._ledger.count(slot.phase, "unasked" if outcome.unasked else "failures")
            return replace(outcome, row_id=slot.row_id) if slot.shared else outcome
        if outcome.enclosed:
            self._ledger.count(slot.phase, "enclosed")
        if slot.shared:
            self._ledger.count(slot.phase, "from_store")
            return replace(outcome, row_id=slot.row_id, from_store=True)
        return outcome

    def _forget(self, slot: _Slot) -> None:
        if self._in_flight.get(slot.key) is slot.promise:
            del self._in_flight[slot.key]

    def _abandon(self, window: Iterable[_Slot]) -> None:
        """End the calls that nobody waits for any more."""
        mine = [slot for slot in window if not slot.shared]
        for slot in mine:
            self._forget(slot)
        if self._backstage is not None:
            self._backstage.cancel([slot.promise for slot in mine])

    def _behind(self) -> "_Backstage":
        if self._backstage is None:
            import aiohttp  # noqa: F401  (half a second's work, which would stop the loop)

            self._backstage = _Backstage(self._store, self._tell)
        return self._backstage

    def _caller(self, request: ChatRequest) -> Caller[ChatRequest]:
        backstage, endpoint = self._behind(), self._endpoints[request.endpoint]
        # A server of our own loads one model.
        name = f"{endpoint.name} {request.model} {request.revision}" if endpoint.serve else endpoint.name
        if name not in backstage.callers:
            spec = endpoint.server_of(request.model, request.revision)
            if spec is not None:
                server = self._servers.enter_context(serve(spec))
                endpoint, key = replace(endpoint, base_url=server.base_url), server.api_key
            else:
                key = endpoint.api_key(place_of(endpoint, request), endpoint.base_url or "")
            self._store.prepare()
            backstage.callers[name] = Caller(ChatProtocol(endpoint, key), backstage.committer, self._ledger)
        return backstage.callers[name]


class _Job(Turn):
    """A request that waits for its first turn: little more than itself; only then does it get a task."""

    __slots__ = ("_begin", "caller", "place", "promise", "request")

    def __init__(
        self,
        caller: Caller[ChatRequest],
        request: ChatRequest,
        promise: Promise[Outcome],
        place: int,
        begin: "Callable[[_Job], None]",
    ) -> None:
        super().__init__(caller.protocol.expected_tokens(request))
        self.caller, self.request, self.promise, self.place = caller, request, promise, place
        self._begin = begin

    def start(self) -> None:
        self._begin(self)

    def gone(self) -> bool:
        return self.promise.done()


class _Backstage:
    """The event loop in its thread, with the callers and the committer that live there."""

    def __init__(self, store: CallStore, tell: Callable[[CallFailure], None]) -> None:
        self._tell = tell
        self.callers: dict[str, Caller[ChatRequest]] = {}
        self.committer = Committer(store)
        self._end: Exception | None = None
        self._queued: set[Promise[Outcome]] = set()
        self._tasks: dict[Promise[Outcome], tuple[Caller[ChatRequest], asyncio.Task[None]]] = {}
        self._places = itertools.count()
        self._loop = asyncio.new_event_loop()
        gc.collect()
        gc.freeze()  # else each collection walks through all that is imported, and stops the loop for 0.1 s
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-engine", daemon=True)
        self._thread.start()

    def width(self) -> int:
        """Return how many calls may be under way at once, as the lanes know so far."""
        return sum(caller.width() for caller in list(self.callers.values()))

    def submit(self, caller: Caller[ChatRequest], request: ChatRequest, promise: Promise[Outcome]) -> None:
        """Answer a request in the loop; the promise gets its outcome, or the error that stops all."""
        job = _Job(caller, request, promise, next(self._places), self._spawn)
        self._loop.call_soon_threadsafe(self._queue, job)

    def cancel(self, promises: Sequence[Promise[Outcome]]) -> None:
        """End what is under way for these promises, and begin nothing more for them."""
        self._loop.call_soon_threadsafe(self._drop, promises)

    def close(self) -> None:
        """Begin nothing more, wait for what is under way and keep it, close the connections, end the thread.

        An interrupt ends the wait, and is raised when all is closed: what was under way is then lost.
        """
        in_flight = sum(caller.in_flight() for caller in list(self.callers.values()))
        if in_flight:
            LOGGER.info("waiting for %d calls that are under way, since they are paid for", in_flight)
        winding = asyncio.run_coroutine_threadsafe(self._wind_down(), self._loop)
        try:
            winding.result()
        except BaseException:
            self._loop.call_soon_threadsafe(self._cancel)
            winding.result()
            raise
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            gc.unfreeze()

    def _queue(self, job: _Job) -> None:
        if self._end is not None:
            job.promise.fail(self._end)
            return
        self._queued.add(job.promise)
        job.caller.lane(job.request).queue(job.place, job)

    def _spawn(self, job: _Job) -> None:
        self._queued.discard(job.promise)
        task = self._loop.create_task(self._serve(job))
        self._tasks[job.promise] = job.caller, task
        task.add_done_callback(lambda _: self._ended(job, task))

    def _ended(self, job: _Job, task: "asyncio.Task[None]") -> None:
        del self._tasks[job.promise]
        if task.cancelled():  # before its first step: `_serve` ends by itself
            job.caller.lane(job.request).withdraw(job)
            job.promise.fail(self._end or CancelledError())

    async def _serve(self, job: _Job) -> None:
        try:
            job.promise.keep(await self._outcome(job))
        except (asyncio.CancelledError, Dismissed):
            job.promise.fail(self._end or CancelledError())
        except Exception as error:
            if self._end is None:
                bug = FinetrailError("the engine failed", hint="This is a bug: see the log")
                self._stop(error if isinstance(error, FinetrailError) else bug)
            job.promise.fail(error)

    async def _outcome(self, job: _Job) -> Outcome:
        request = job.request
        try:
            call = await job.caller.answer(request, job.place, job)
        except Failed as failed:
            unasked = failed.fault is UNASKED
            failure = CallFailure(request.row_id, request.key, str(failed), failed.attempts, unasked)
            self._tell(failure)
            return failure
        return ChatAnswer.of(call, request, from_store=False)

    def _stop(self, why: Exception) -> None:
        """Begin nothing more; what the servers have is waited for, and kept."""
        self._end = why
        self._drop([*self._queued, *self._tasks], why)

    def _drop(self, promises: Sequence[Promise[Outcome]], why: Exception | None = None) -> None:
        me = asyncio.current_task(self._loop)
        for promise in promises:
            caller, task = self._tasks.get(promise, (None, None))
            if task is me and me is not None:
                continue
            self._queued.discard(promise)
            promise.fail(why or CancelledError())
            if caller is not None and task is not None:
                caller.dismiss(task)

    def _cancel(self) -> None:
        for _, task in self._tasks.values():
            task.cancel()

    async def _wind_down(self) -> None:
        self._stop(self._end or CancelledError())
        await asyncio.gather(*(task for _, task in self._tasks.values()), return_exceptions=True)
        await self.committer.finish()
        for caller in self.callers.values():
            await caller.protocol.close()


def _kept(outcome: Outcome) -> Promise[Outcome]:
    promise: Promise[Outcome] = Promise()
    promise.keep(outcome)
    return promise
