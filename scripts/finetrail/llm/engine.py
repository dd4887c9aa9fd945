"""The engine: requests in, answers out in the same order, each paid for at most once.

What the store holds is served without a call (and without importing a client); the rest goes to its
endpoint with bounded concurrency, from an event loop in a thread of its own. Memory holds a window of
requests, never all.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal

from finetrail.errors import FinetrailError
from finetrail.llm.caller import Caller, answer_of
from finetrail.llm.commit import Committer
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.lane import Turn
from finetrail.llm.money import Ledger, Price
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest
from finetrail.llm.serving import offline_teacher, serve
from finetrail.llm.store import CallStore

LOGGER = logging.getLogger(__name__)
Mode = Literal["live", "replay"]
Outcome = ChatAnswer | CallFailure
WINDOW_A_CALL = 64
SMALLEST_WINDOW = 1024


class _Slot:
    """A place in the window: a request's identity and its outcome to be."""

    def __init__(self, request: ChatRequest, future: "Future[Outcome]", *, shared: bool = False) -> None:
        self.row_id, self.phase = request.row_id, request.phase
        self.future = future
        self.shared = shared


class Engine:
    """Answers requests from the store or from their endpoints. Use as a context manager.

    Args:
        endpoints: where requests may go, by the name that they give.
        store: the paid answers; closed by whoever opened it.
        mode: `live`, or `replay`, which makes no call.
        prices: US dollars by model id.

    Servers of our own are started with the first call that needs them, by the thread that iterates `run`,
    and live until the engine is closed.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        store: CallStore,
        *,
        mode: Mode = "live",
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._facts = {endpoint.name: endpoint.facts() for endpoint in endpoints}
        self._store = store
        self._mode = mode
        self._ledger = Ledger(prices or {})
        self._in_flight: dict[str, Future[Outcome]] = {}
        self._backstage: _Backstage | None = None
        self._servers = ExitStack()
        most = max((endpoint.max_concurrency for endpoint in endpoints), default=1)
        self._window = max(SMALLEST_WINDOW, WINDOW_A_CALL * most)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End calls under way, keep what they brought, stop our servers."""
        try:
            if self._backstage is not None:
                self._backstage.close()
                self._backstage = None
        finally:
            self._servers.close()

    @property
    def totals(self) -> dict[str, Any]:
        """Calls, tokens and US dollars so far, in all, by phase, and by the model that answered."""
        return self._ledger.totals()

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
        facts = self._facts[request.endpoint]
        return replace(request, facts={**request.facts, **facts}) if facts else request

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
                while not exhausted and len(window) < self._window:
                    request = next(source, None)
                    if request is None:
                        exhausted = True
                    else:
                        window.append(self._begin(request))
                        if window[0].future.done():
                            break
                if not window:
                    return
                yield self._finish(window.popleft())
        finally:
            for slot in window:
                slot.future.cancel()

    def _begin(self, request: ChatRequest) -> _Slot:
        request = self.bind(request)
        try:
            key = request.key
        except UnicodeEncodeError as error:
            return _Slot(request, _settled(CallFailure(request.row_id, "", f"a message is no text: {error}", 0)))
        under_way = self._in_flight.get(key)
        if under_way is not None and not under_way.cancelled():
            return _Slot(request, under_way, shared=True)
        stored = self._store.get(key)
        if stored is not None:
            self._ledger.count(request.phase, "from_store")
            return _Slot(request, _settled(answer_of(stored, request, from_store=True)))
        if self._mode == "replay":
            raise FinetrailError(
                f"phase {request.phase!r} has no stored answer (call {key[:12]}), and replay makes no calls",
                where=f"row {request.row_id}",
                hint="Fetch the call store (make pull), or set llm.mode: live",
            )
        future: Future[Outcome] = Future()
        self._in_flight[key] = future
        future.add_done_callback(lambda _: self._in_flight.pop(key, None))
        self._behind().submit(self._caller(request.endpoint), request, future)
        return _Slot(request, future)

    def _finish(self, slot: _Slot) -> Outcome:
        try:
            outcome = slot.future.result()
        except CancelledError as error:
            raise FinetrailError("the engine was closed before the answer came", where=f"row {slot.row_id}") from error
        if isinstance(outcome, CallFailure):
            self._ledger.count(slot.phase, "failures")
            return replace(outcome, row_id=slot.row_id) if slot.shared else outcome
        if slot.shared:
            self._ledger.count(slot.phase, "from_store")
            return replace(outcome, row_id=slot.row_id, from_store=True)
        return outcome

    def _behind(self) -> "_Backstage":
        if self._backstage is None:
            self._backstage = _Backstage(self._store)
        return self._backstage

    def _caller(self, name: str) -> Caller:
        backstage = self._behind()
        if name not in backstage.callers:
            endpoint = self._endpoints[name]
            if endpoint.kind == "offline":
                server = self._servers.enter_context(serve(offline_teacher()))
                endpoint, key = replace(endpoint, base_url=server.base_url), server.api_key
            else:
                key = endpoint.api_key()
            backstage.callers[name] = Caller(endpoint, key, backstage.committer, self._ledger)
        return backstage.callers[name]


class _Backstage:
    """The event loop in its thread, with the callers and the committer that live there."""

    def __init__(self, store: CallStore) -> None:
        self.callers: dict[str, Caller] = {}
        self.committer = Committer(store)
        self._end: Exception | None = None
        self._queued: set[Future[Outcome]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm-engine", daemon=True)
        self._thread.start()

    def submit(self, caller: Caller, request: ChatRequest, future: "Future[Outcome]") -> None:
        """Answer a request in the loop; its outcome, or the error that stops all, is set on the future."""
        place, self._places = self._places, self._places + 1
        self._loop.call_soon_threadsafe(self._queue, caller, request, future, place)

    def close(self) -> None:
        """Cancel what is under way, write what has come, close the connections, end the thread."""
        asyncio.run_coroutine_threadsafe(self._wind_down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _queue(self, caller: Caller, request: ChatRequest, future: "Future[Outcome]", place: int) -> None:
        """Let a request wait for its turn as little more than itself; only then does it get a task."""
        if self._end is not None:
            _fail(future, self._end)
            return
        self._queued.add(future)
        future.add_done_callback(self._queued.discard)
        caller.queue(request, place, lambda turn: self._spawn(caller, request, future, place, turn), future.done)

    def _spawn(self, caller: Caller, request: ChatRequest, future: "Future[Outcome]", place: int, turn: Turn) -> None:
        self._queued.discard(future)
        task = self._loop.create_task(self._serve(caller, request, future, place, turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        future.add_done_callback(lambda done: self._cancel(task) if done.cancelled() else None)

    async def _serve(
        self, caller: Caller, request: ChatRequest, future: "Future[Outcome]", place: int, turn: Turn
    ) -> None:
        try:
            outcome = await caller.answer(request, place, turn)
        except asyncio.CancelledError:
            _fail(future, self._end or CancelledError())
        except Exception as error:
            self._abort(error if isinstance(error, FinetrailError) else None)
            _fail(future, error)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(outcome)

    def _abort(self, fatal: FinetrailError | None) -> None:
        if self._end is None:
            self._stop(fatal or FinetrailError("the engine failed", hint="This is a bug: see the log"))

    def _stop(self, why: Exception) -> None:
        """Begin nothing more, and end what is under way."""
        self._end = why
        for future in list(self._queued):
            _fail(future, why)
        for task in self._tasks - {asyncio.current_task(self._loop)}:
            task.cancel()

    def _cancel(self, task: "asyncio.Task[None]") -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(task.cancel)

    async def _wind_down(self) -> None:
        self._stop(self._end or CancelledError())
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.committer.finish()
        for caller in self.callers.values():
            await caller.close()


def _settled(outcome: Outcome) -> "Future[Outcome]":
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


def _fail(future: "Future[Outcome]", error: BaseException) -> None:
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)
