"""The pages of a list of results: from the store, or from the web, each read once; what came of a list is kept too."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

from finetrail.calls.commit import Committer
from finetrail.calls.patience import HOPELESS, backoff_s
from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore, not_stored
from finetrail.errors import FinetrailError
from finetrail.web.extract import Extractors, PageText
from finetrail.web.fetch import FetchFailed, PageFetcher
from finetrail.web.web_request import Asker, WebRequest

RETRIES = 2
AT_ONCE_A_HOST = 2


class PageReader:
    """Reads pages. Use as an asynchronous context manager, in one event loop.

    Args:
        fetcher: has the limits; entered here.
        extractors: turn pages into text; closed here.
        store: what was read before.
        committer: makes new records durable.
        live: whether the network may be used.

    Attributes:
        counts: pages `read`, `from_store`, and those that `failed`, by reason.
    """

    def __init__(
        self, fetcher: PageFetcher, extractors: Extractors, store: CallStore, committer: Committer, *, live: bool
    ) -> None:
        self._fetcher = fetcher
        self._extractors = extractors
        self._store = store
        self._committer = committer
        self._live = live
        self.counts = {"read": 0, "from_store": 0}
        self.failures: Counter[str] = Counter()
        self._room = asyncio.Semaphore(fetcher.limits.max_concurrency)
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._under_way: dict[str, asyncio.Task[StoredCall]] = {}
        self._lists: dict[str, asyncio.Task[list[StoredCall | FetchFailed]]] = {}
        self._failed: dict[str, FetchFailed] = {}
        self._held: list[StoredCall] = []

    async def __aenter__(self) -> "PageReader":
        await self._fetcher.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._keep_held()
            tasks = [*self._lists.values(), *self._under_way.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._extractors.close()
            await self._fetcher.__aexit__(kind, error, trace)

    async def read(self, asker: Asker, urls: Sequence[str]) -> list[PageText | str]:
        """Return for each URL the text of its page, or why there is none.

        Raises:
            FinetrailError: in replay, the store does not say what came of this list; or no page at all can be read.
        """
        request = asker.reading(urls)
        stored = self._store.get(request.key)
        if stored is not None:
            return [self._recalled(entry, request) for entry in stored.answer["pages"]]
        if not self._live:
            raise not_stored(request, f"pages for {len(urls)} results", "uses no network")
        if request.key not in self._lists:
            self._lists[request.key] = asyncio.create_task(self._read_list(asker, request, urls))
        task = self._lists[request.key]
        try:
            return [self._counted(outcome) for outcome in await asyncio.shield(task)]
        finally:
            if task.done():
                self._lists.pop(request.key, None)

    async def _read_list(
        self, asker: Asker, request: WebRequest, urls: Sequence[str]
    ) -> list[StoredCall | FetchFailed]:
        outcomes = await asyncio.gather(*(self._page(asker, url) for url in urls))
        await self._keep_reading(request, outcomes)
        return outcomes

    def _recalled(self, entry: dict[str, Any], request: WebRequest) -> PageText | str:
        if "failed" in entry:
            self.failures[entry["failed"]] += 1
            return str(entry["failed"])
        call = self._store.get(entry["page"], entry["answer"])
        if call is None:
            raise FinetrailError(
                f"the call store names a page that it does not hold (call {entry['page'][:12]})",
                where=f"row {request.row_id}, phase {request.phase!r}",
                hint="Restore the store (make pull); python -m finetrail.calls.inspect_store says what is damaged",
            )
        self.counts["from_store"] += 1
        return PageText(call.answer["title"], call.answer["text"])

    def _counted(self, outcome: StoredCall | FetchFailed) -> PageText | str:
        if isinstance(outcome, FetchFailed):
            self.failures[outcome.reason] += 1
            return outcome.reason
        return PageText(outcome.answer["title"], outcome.answer["text"])

    async def _page(self, asker: Asker, url: str) -> StoredCall | FetchFailed:
        """Return a page's record, or why there is none; two rows that want it share one fetch."""
        request = asker.page(url)
        stored = self._store.get(request.key)
        if stored is not None:
            self.counts["from_store"] += 1
            return stored
        if request.key in self._failed:
            return self._failed[request.key]
        if request.key not in self._under_way:
            self._under_way[request.key] = asyncio.create_task(self._fetch(request, url))
        task = self._under_way[request.key]
        try:
            return await asyncio.shield(task)
        except FetchFailed as failed:
            self._failed[request.key] = failed
            self._mind_hopeless(failed, request)
            return failed
        finally:
            if task.done():
                self._under_way.pop(request.key, None)

    async def _fetch(self, request: WebRequest, url: str) -> StoredCall:
        page, text = await self._patiently(request, url)
        answer = {
            "url": page.url,
            "kind": page.kind,
            "sha256": page.sha256,
            "bytes": len(page.body),
            "title": text.title,
            "text": text.text,
        }
        call = StoredCall.of(request, answer, 0.0)
        await self._committer.commit(call)
        self.counts["read"] += 1
        return call

    async def _patiently(self, request: WebRequest, url: str) -> tuple[Any, PageText]:
        for tried in range(RETRIES + 1):
            try:
                async with self._host_of(url), self._room:
                    page = await self._fetcher.fetch(url)
                    text = await self._extractors.extract(page)
                if not text.text:
                    raise FetchFailed("no text was found in it")
            except FetchFailed as failed:
                if not failed.passing or tried == RETRIES:
                    raise
                await asyncio.sleep(backoff_s(request.key, tried + 1))
            else:
                return page, text
        raise AssertionError("the last try ends above")

    def _host_of(self, url: str) -> asyncio.Semaphore:
        """Return the room that a host gives; who waits for it keeps nobody else waiting, and no time is counted."""
        host = url.partition("//")[2].partition("/")[0]
        room = self._hosts.get(host)
        if room is None:
            self._hosts[host] = room = asyncio.Semaphore(AT_ONCE_A_HOST)
        return room

    async def _keep_reading(self, request: WebRequest, outcomes: Sequence[StoredCall | FetchFailed]) -> None:
        """Keep what came of a list; until some page was read, an outage is not kept as what its pages came to."""
        entries = [
            {"failed": one.reason} if isinstance(one, FetchFailed) else {"page": one.key, "answer": one.answer_sha256}
            for one in outcomes
        ]
        call = StoredCall.of(request, {"pages": entries}, 0.0)
        if any(isinstance(one, FetchFailed) and one.passing for one in outcomes) and not any(self.counts.values()):
            self._held.append(call)
            return
        await self._committer.commit(call)
        if any(self.counts.values()):
            await self._keep_held()

    async def _keep_held(self) -> None:
        held, self._held = self._held, []
        for call in held:
            await self._committer.commit(call)

    def _mind_hopeless(self, failed: FetchFailed, request: WebRequest) -> None:
        if any(self.counts.values()):
            return
        passing = sum(one.passing for one in self._failed.values())
        if passing >= HOPELESS:
            raise FinetrailError(
                f"none of {passing} pages could be read; the last one: {failed.reason}",
                where=f"phase {request.phase!r}, row {request.row_id}",
                hint="Is there a way to the internet from here? Compute nodes often have none: run this step where "
                "there is, or set recall.http.pages: false",
            )
