"""Paid searches: from the store, or from the service; the same search asked twice is asked once."""

import asyncio

from finetrail.calls.caller import Caller
from finetrail.calls.faults import UNASKED, Failed
from finetrail.calls.money import Ledger
from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore, not_stored
from finetrail.web.web_request import WebRequest


class Searcher:
    """Asks one service; lives in one event loop.

    Args:
        caller: asks, and keeps what it is told.
        store: what was paid before.
        ledger: the caller's.
        live: whether the network may be used.
    """

    def __init__(self, caller: Caller[WebRequest], store: CallStore, ledger: Ledger, *, live: bool) -> None:
        self.caller = caller
        self._store = store
        self._ledger = ledger
        self._live = live
        self._under_way: dict[str, asyncio.Task[StoredCall]] = {}

    async def close(self) -> None:
        """End the searches under way, and close the connections."""
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self.caller.protocol.close()

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
            raise not_stored(request, "search")
        task = asyncio.create_task(self._ask(request, place))
        self._under_way[request.key] = task
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._under_way.pop(request.key, None)

    async def _ask(self, request: WebRequest, place: int) -> StoredCall:
        try:
            return await self.caller.answer(request, place)
        except Failed as failed:
            self._ledger.count(request.phase, "unasked" if failed.fault is UNASKED else "failures")
            raise
