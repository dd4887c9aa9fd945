"""How a step searches the web for its rows: one session a job, results in the order of the rows, failures set aside."""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from finetrail.calls.commit import Committer
from finetrail.calls.faults import UNASKED, Failed
from finetrail.calls.interrupts import InterruptibleRunner
from finetrail.calls.money import Ledger
from finetrail.calls.paying_step import check_budget, check_quarantine, patience_of, run_budget, share_of
from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore
from finetrail.config.current import current_run, operation_key, results_folder
from finetrail.config.job_memory import processes_within
from finetrail.rows.records import Row
from finetrail.step.step import Step
from finetrail.web.candidates import candidates_of, fuse_results, urls_of
from finetrail.web.extract import BOUNDS, Extractors
from finetrail.web.fetch import PageFetcher, PageLimits
from finetrail.web.paid_search import Searcher
from finetrail.web.reader import PageReader
from finetrail.web.search_progress import Searching
from finetrail.web.search_protocol import SearchEndpoint, SearchProtocol
from finetrail.web.services import Service, read_results, service_of
from finetrail.web.web_request import Asker

LOGGER = logging.getLogger(__name__)
ROWS_A_SEARCH = 4


@dataclass(frozen=True)
class Recalled:
    """A row with its candidates, and the passages that they name."""

    row: Row
    passages: list[Row]


@dataclass
class _Web:
    """What the rows of one step share."""

    step: Step
    settings: dict[str, Any]
    service: Service
    store: CallStore
    searcher: Searcher
    reader: PageReader
    under_way: set["asyncio.Task[Recalled]"] = field(default_factory=set)

    async def recall(self, row: Row, place: int) -> Recalled:
        """Search for a row, and read what was found.

        Raises:
            Failed: a search has no answer.
        """
        http = self.settings["http"]
        asker = Asker(row["id"], self.step.rule, http["edition"])
        requests = [asker.search(self.service, query["text"], http["page_size"]) for query in row["queries"]]
        calls = await asyncio.gather(*(self.searcher.search(request, place) for request in requests))
        found = fuse_results([results_of(self.service, call) for call in calls], self.settings["top_k"])
        pages = await self.reader.read(asker, urls_of(found)) if http["pages"] and found else None
        candidates, passages, dropped = candidates_of(found, pages, self.service.name, http)
        keys = [*row.get("calls", []), *(call.key for call in calls)]
        return Recalled(row | {"calls": keys, "candidates": candidates, "dropped_results": dropped}, passages)


def results_of(service: Service, call: StoredCall) -> list[Any]:
    """Return the results of a stored search."""
    return read_results(service, call.answer["body"])


def endpoint_of(step: Step) -> SearchEndpoint:
    """Return the search endpoint that the recipe names, with this job's share of its ceilings."""
    name, run = operation_key(step.recipe, "recall.http.search_endpoint"), current_run()
    entry = run["search"]["endpoints"][name] | {"max_wait_s": run["llm"]["max_wait_s"]}
    return SearchEndpoint.of(name, entry).shared(share_of(step))


def chosen_service(step: Step) -> Service:
    """Return the service that the recipe names."""
    custom = operation_key(step.recipe, "recall.http.custom")
    keys = custom and {"key_header": custom["key_header"], "key_param": custom["key_param"]}
    return service_of(step.settings["recall"]["http"], keys)


@contextlib.asynccontextmanager
async def _open_web(step: Step, store: CallStore, ledger: Ledger) -> AsyncIterator[_Web]:
    run = current_run()
    live = run["llm"]["mode"] == "live"
    endpoint, service = endpoint_of(step), chosen_service(step)
    limits = PageLimits(**run["search"]["pages"])
    count = processes_within(step.rule, BOUNDS.memory_bytes, len(os.sched_getaffinity(0)))
    extractors = Extractors(count)
    async with AsyncExitStack() as stack:
        committer = Committer(store)
        stack.push_async_callback(committer.finish)
        protocol, again = SearchProtocol(endpoint, service), run["llm"]["ask_again"]
        searcher = Searcher(protocol, committer, ledger, store, live=live, ask_again=again)
        stack.push_async_callback(searcher.close)
        reader = await stack.enter_async_context(
            PageReader(PageFetcher(limits), extractors, store, committer, live=live)
        )
        try:
            yield _Web(step, step.settings["recall"], service, store, searcher, reader)
        finally:
            step.facts["pages"] = {**reader.counts, "failed": dict(sorted(reader.failures.items()))}


def recall_rows(step: Step, rows: Iterable[Row]) -> Iterator[Recalled]:
    """Search for each row and yield it, in the order of the rows.

    A row with a failed search goes into quarantine with the error; the balance of the step is recorded at the end.

    Raises:
        FinetrailError: the budget is spent; too many rows failed; in replay, something is not stored.
    """
    settings = current_run()["llm"]
    budget = run_budget(settings)
    ledger = Ledger(budget)
    with CallStore(results_folder() / "calls") as store:
        try:
            yield from _recall_rows(step, rows, store, ledger)
        finally:
            if budget is not None:
                budget.close()
            step.facts["llm"] = ledger.totals()
            step.journal.facts["llm"] = step.facts["llm"]


def _recall_rows(step: Step, rows: Iterable[Row], store: CallStore, ledger: Ledger) -> Iterator[Recalled]:
    total = quarantined = left = 0
    with InterruptibleRunner() as runner, _entered(runner, step, store, ledger) as web:
        progress = Searching(ledger, web.searcher.caller.in_flight, step.pulse.latest, step.pulse.ended)
        step.pulse.watch(progress, leads=True)
        patience = patience_of(step, progress.known_total)
        for row, task in _windowed(runner, web, rows):
            total += 1
            try:
                recalled = runner.run(_result(web, task))
                progress.advance()
                yield recalled
            except Failed as failed:
                if failed.fault is UNASKED:
                    left += 1
                    continue
                error = f"search: {failed.fault.error}"
                quarantined += step.quarantine([{"id": row["id"], "error": error, "row": row}])
                patience.fail(row["id"], error)
        progress.close()
    check_budget(ledger.budget, total, left)
    check_quarantine(step, total, quarantined, patience.first)


@contextlib.contextmanager
def _entered(runner: InterruptibleRunner, step: Step, store: CallStore, ledger: Ledger) -> Iterator[_Web]:
    """Open what the rows share in the runner's loop, and close it there."""
    stack = AsyncExitStack()

    async def enter() -> _Web:
        return await stack.enter_async_context(_open_web(step, store, ledger))

    web = runner.finish(enter())
    try:
        yield web
    except BaseException as error:
        runner.finish(_leave(stack, error, web.under_way))
        raise
    else:
        runner.finish(_leave(stack, None, web.under_way))


async def _leave(stack: AsyncExitStack, error: BaseException | None, rows: "set[asyncio.Task[Recalled]]") -> None:
    """End the rows under way, and close; what has been paid is still written."""
    for task in rows:
        task.cancel()
    await asyncio.gather(*rows, return_exceptions=True)
    await stack.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)


def _windowed(
    runner: InterruptibleRunner, web: _Web, rows: Iterable[Row]
) -> Iterator[tuple[Row, "asyncio.Task[Recalled]"]]:
    """Keep some rows under way, and yield them in their order."""
    most = ROWS_A_SEARCH * web.searcher.caller.endpoint.max_concurrency
    waiting: deque[tuple[Row, asyncio.Task[Recalled]]] = deque()
    loop = runner.get_loop()
    for place, row in enumerate(rows):
        task = loop.create_task(web.recall(row, place))
        web.under_way.add(task)
        waiting.append((row, task))
        if len(waiting) >= most:
            yield waiting.popleft()
    yield from waiting


async def _result(web: _Web, task: "asyncio.Task[Recalled]") -> Recalled:
    try:
        return await task
    finally:
        web.under_way.discard(task)


def plan_searches(step: Step, rows: Iterable[Row]) -> None:
    """Count a step's searches, look each up, and keep the counts and the price in its facts; nothing is asked."""
    http, top_k = step.settings["recall"]["http"], step.settings["recall"]["top_k"]
    endpoint, service = endpoint_of(step), chosen_service(step)
    counts = dict.fromkeys(("rows", "calls", "in_store", "repeats"), 0)
    missing: set[str] = set()
    pages: set[str] = set()
    with CallStore(results_folder() / "calls") as store:
        for row in rows:
            counts["rows"] += 1
            asker = Asker(row["id"], step.rule, http["edition"])
            requests = [asker.search(service, query["text"], http["page_size"]) for query in row["queries"]]
            stored = [store.get(request.key) for request in requests]
            for request, call in zip(requests, stored, strict=True):
                counts["calls"] += 1
                counts["in_store"] += call is not None
                counts["repeats"] += call is None and request.key in missing
                missing |= {request.key} if call is None else set()
            known = [call for call in stored if call is not None]
            if http["pages"] and len(known) == len(stored):
                pages |= _pages_to_read(store, asker, service, known, top_k)
    step.facts["plan"] = counts | {
        "to_make": len(missing),
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "usd": 0.0 if not missing else None if endpoint.usd is None else len(missing) * endpoint.usd,
        "basis": f"a price a search, and {len(pages)} known pages to read" if http["pages"] else "a price a search",
        "model": service.name,
    }
    step.count(rows_in=0, kept=0)


def _pages_to_read(
    store: CallStore, asker: Asker, service: Service, calls: Sequence[StoredCall], most: int
) -> set[str]:
    urls = urls_of(fuse_results([results_of(service, call) for call in calls], most))
    if store.get(asker.reading(urls).key) is not None:
        return set()
    return {url for url in urls if store.get(asker.page(url).key) is None}
