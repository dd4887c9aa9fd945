"""Paid searches: from the store, or from the service; the same search asked twice is asked once."""

import asyncio
from types import TracebackType

from finetrail.calls.caller import Caller
from finetrail.calls.commit import Committer
from finetrail.calls.faults import UNASKED, Failed
from finetrail.calls.money import Ledger
from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from finetrail.web.search_protocol import SearchEndpoint, SearchProtocol
from finetrail.web.services import Service
from finetrail.web.web_request import WebRequest


class Searcher:
    """Asks one service. Use as an asynchronous context manager, in one event loop.

    Args:
        endpoint: where to ask.
        service: how to ask.
        store: the paid answers.
        committer: makes new ones durable.
        ledger: counts attempts and money, and knows the budget.
        live: whether the network may be used.
    """

    def __init__(
        self,
        endpoint: SearchEndpoint,
        service: Service,
        store: CallStore,
        committer: Committer,
        ledger: Ledger,
        *,
        live: bool,
    ) -> None:
        self.endpoint = endpoint
        self._store = store
        self._ledger = ledger
        self._live = live
        self._caller = Caller(SearchProtocol(endpoint, service), committer, ledger)
        self._under_way: dict[str, asyncio.Task[StoredCall]] = {}

    async def __aenter__(self) -> "Searcher":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._caller.protocol.close()

    def in_flight(self) -> int:
        """Return how many searches the service has at this moment; safe to ask from another thread."""
        return self._caller.in_flight()

    async def search(self, request: WebRequest, place: int) -> StoredCall:
        """Answer a search from the store, else from the service; the same search asked twice is asked once.

        Args:
            request: what is searched for.
            place: its row's place in the input; earlier ones go first.

        Raises:
            Failed: this search has no answer.
            FinetrailError: no search would have one; or replay, and the store has none.
        """
        stored = self._store.get(request.key)
        if stored is not None:
            self._ledger.count(request.phase, "from_store")
            return stored
        task = self._under_way.get(request.key)
        if task is not None:
            call = await asyncio.shield(task)
            self._ledger.count(request.phase, "from_store")
            return call
        if not self._live:
            raise FinetrailError(
                f"phase {request.phase!r} has no stored search (call {request.key[:12]}), and replay makes no calls",
                where=f"row {request.row_id}",
                hint="Fetch the call store (make pull), or set llm.mode: live",
            )
        task = asyncio.create_task(self._ask(request, place))
        self._under_way[request.key] = task
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._under_way.pop(request.key, None)

    async def _ask(self, request: WebRequest, place: int) -> StoredCall:
        try:
            return await self._caller.answer(request, place)
        except Failed as failed:
            self._ledger.count(request.phase, "unasked" if failed.fault is UNASKED else "failures")
            raise
