"""Paid searches: from the store, or from the service; the same search asked twice is asked once."""

import asyncio

from finetrail.calls.caller import Caller
from finetrail.calls.commit import Committer
from finetrail.calls.faults import UNASKED, Failed, Fault
from finetrail.calls.money import Ledger
from finetrail.calls.segment import UNUSABLE, StoredCall
from finetrail.calls.store import ALREADY_PAID, CallStore, not_stored
from finetrail.errors import FinetrailError
from finetrail.web.search_protocol import SearchProtocol
from finetrail.web.web_request import WebRequest


class Searcher:
    """Asks one service; lives in one event loop.

    Args:
        protocol: how the service is asked.
        committer: keeps what it says.
        ledger: counts searches and money.
        store: what was paid before.
        live: whether the network may be used.
        ask_again: answers that are stored as of no use are asked for again.
    """

    def __init__(
        self,
        protocol: SearchProtocol,
        committer: Committer,
        ledger: Ledger,
        store: CallStore,
        *,
        live: bool,
        ask_again: bool = False,
    ) -> None:
        self.caller = Caller(protocol, committer, ledger)
        self._protocol = protocol
        self._store = store
        self._ledger = ledger
        self._live = live
        self._asks_again = live and ask_again
        self._under_way: dict[str, asyncio.Task[StoredCall]] = {}

    async def close(self) -> None:
        """Begin no further search, wait for those that the service has, and close the connections.

        An interrupt ends the wait; what was under way is then lost.
        """
        tasks = list(self._under_way.values())
        for task in tasks:
            self.caller.dismiss(task)
        try:
            await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True))
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        finally:
            await self._protocol.close()

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
        if stored is not None and self._is_usable(stored, request):
            self._ledger.count(request.phase, "from_store")
            return stored
        task = self._under_way.get(request.key)
        if task is not None:
            call = await asyncio.shield(task)
            self._ledger.count(request.phase, "from_store")
            return call
        if not self._live:
            raise not_stored(request, "search")
        self._store.prepare()
        task = asyncio.create_task(self._ask(request, place))
        self._under_way[request.key] = task
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._under_way.pop(request.key, None)

    def _is_usable(self, stored: StoredCall, request: WebRequest) -> bool:
        """Say whether a stored answer is of use: it may have become so, since fields are found on reading.

        Raises:
            Failed: it is not, and is not asked for again.
            FinetrailError: none has been of use yet.
        """
        if UNUSABLE not in stored.answer:
            return True
        answered = self._ledger.from_store(request.phase) > 0
        problem = self._protocol.problem_of(stored.answer["body"], request, answered=answered)
        if problem is None or self._asks_again:
            return problem is None
        self._ledger.count(request.phase, "failures")
        if isinstance(problem, FinetrailError):
            raise problem
        raise Failed(Fault("row", f"{problem.fault.error} ({ALREADY_PAID})"))

    async def _ask(self, request: WebRequest, place: int) -> StoredCall:
        try:
            return await self.caller.answer(request, place)
        except Failed as failed:
            self._ledger.count(request.phase, "unasked" if failed.fault is UNASKED else "failures")
            raise
