"""Paid searches: from the store, or from the service, within its limits; kept before they count."""

import asyncio
import json
import os
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, quote_plus

from finetrail.calls.commit import Committer
from finetrail.calls.concurrency import Ceilings, Lane, Turn
from finetrail.calls.money import Ledger
from finetrail.calls.rate_limit import part_of
from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError
from finetrail.llm.faults import OVERLOADED, RETRIED, UNASKED, Failed, Fault, redact, retry_after_seconds
from finetrail.rows.records import canonical_json, derive_seed
from finetrail.web.fetch import PIECE, FetchFailed, unpack
from finetrail.web.services import NoResults, Service, read_results
from finetrail.web.web_request import WebRequest

if TYPE_CHECKING:
    import aiohttp

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
REFUSALS_A_RETRY = 8
HOPELESS = 20
LARGEST_ANSWER = 20_000_000
SHOWN = 120
# 432 and 433: so says Tavily when the plan, or the bound of the user's own, is used up.
CREDIT = {402, 432, 433}


@dataclass(frozen=True)
class SearchEndpoint:
    """Where a service is asked, and with which patience; the fields are keys of `search.endpoints`.

    Args:
        name: its name in the config.
        base_url: what comes before the service's path.
        api_key_env: the environment variable that holds the key; None where the service wants none.
        timeout_s: seconds that one attempt may take.
        max_concurrency: the most searches under way at once.
        max_retries: how often a failed attempt is repeated.
        requests_per_minute: a ceiling; None for none.
        usd_per_1000: price of a thousand searches; None where it is not known.
    """

    name: str
    base_url: str
    api_key_env: str | None = None
    timeout_s: float = 30.0
    max_concurrency: int = 8
    max_retries: int = 5
    requests_per_minute: int | None = None
    usd_per_1000: float | None = None

    @property
    def usd(self) -> float | None:
        """The price of one search."""
        return None if self.usd_per_1000 is None else self.usd_per_1000 / 1000

    def shared(self, share: Fraction) -> "SearchEndpoint":
        """Return the endpoint as one of the jobs that share it may use it.

        Args:
            share: what part of its ceilings the job has.
        """
        return replace(
            self,
            max_concurrency=part_of(self.max_concurrency, share),
            requests_per_minute=self.requests_per_minute and part_of(self.requests_per_minute, share),
        )

    def api_key(self) -> str:
        """Read the key from the environment; empty where the service wants none.

        Raises:
            FinetrailError: the variable is not set.
        """
        if self.api_key_env is None:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise FinetrailError(
                f"the environment variable {self.api_key_env} is not set",
                where=f"search endpoint {self.name!r}",
                hint=f"Run: export {self.api_key_env}=...  (keys are read from the environment only; the variable's "
                f"name stands in search.endpoints.{self.name}.api_key_env)",
            )
        return key


@dataclass
class _Patience:
    """What has been tried for one search."""

    retries: int = 0
    refusals: int = 0

    def has_end(self, fault: Fault, most: int) -> bool:
        """Count a fault; being refused for asking too much says little about the search."""
        if fault.kind == "limited":
            self.refusals += 1
            return self.refusals > REFUSALS_A_RETRY * most
        self.retries += 1
        return fault.kind == "row" or self.retries > most

    def wait(self, fault: Fault, key: str) -> float:
        """Return the seconds until the next attempt, with a jitter that the search decides."""
        tried = self.retries + self.refusals
        jitter = random.Random(derive_seed(key, tried)).random()
        if fault.retry_after is not None:
            return fault.retry_after + 0.1 * jitter * (1.0 + fault.retry_after)
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tried - 1, 10)) * (0.5 + 0.5 * jitter)


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
        self.service = service
        self._store = store
        self._committer = committer
        self._ledger = ledger
        self._live = live
        self._key = ""
        self._end: FinetrailError | None = None
        self._key_forms: tuple[str, ...] = ()
        ceilings = Ceilings.of(endpoint.requests_per_minute, None)
        self._lane = Lane(endpoint.max_concurrency, ceilings, lambda: self._end is not None or ledger.is_spent())
        self._under_way: dict[str, asyncio.Task[StoredCall]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Searcher":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def in_flight(self) -> int:
        """Return how many searches the service has at this moment; safe to ask from another thread."""
        return self._lane.calling

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
            body, turn = await self._usable(request, place)
        except Failed as failed:
            self._ledger.count(request.phase, "unasked" if failed.fault is UNASKED else "failures")
            if failed.fault is not UNASKED:
                self._mind_hopeless(failed.fault, request)
            raise
        self._lane.succeeded(turn)
        try:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            paid = {"phase": request.phase, "row": request.row_id, "at": now, "usd": self.endpoint.usd}
            call = StoredCall.make(request.key, {"body": body}, request.canonical, paid)
            await self._committer.commit(call)
        finally:
            self._lane.settled()
        return call

    async def _usable(self, request: WebRequest, place: int) -> tuple[Any, Turn]:
        """Return the body of an answer, and the turn that it came in."""
        turn = await self._lane.enter(place)
        patience = _Patience()
        while True:
            try:
                if self._end is not None:
                    raise self._end
                if self._ledger.is_spent():
                    raise Failed(UNASKED)
                self._ledger.count(request.phase, "attempts")
                return await self._attempt(request), turn
            except Failed as failed:
                fault = failed.fault
                hopeless = fault is UNASKED or patience.has_end(fault, self.endpoint.max_retries)
                wait = patience.wait(fault, request.key)
                if not (hopeless or self._lane.answered or fault.kind == "limited"):
                    wait = await self._wait_in_place(wait, turn)
                self._leave(turn, fault, wait, request.phase)
                if fault.concerns_all(hopeless=hopeless, answered=self._lane.answered > 0):
                    self._stop(fault.error, f"Check that the service runs, and {self._entry}.base_url", request)
                if hopeless:
                    raise
            except BaseException:
                self._lane.withdraw(turn)
                raise
            await asyncio.sleep(wait)
            turn = await self._lane.enter(place)

    async def _wait_in_place(self, wait: float, turn: Turn) -> float:
        """Keep the place: until the service has answered somebody, no further search is sent to it."""
        try:
            await asyncio.sleep(wait)
        except BaseException:
            self._lane.withdraw(turn)
            raise
        return 0.0

    def _leave(self, turn: Turn, fault: Fault, wait: float, phase: str) -> None:
        if fault.kind == "limited":
            self._ledger.count(phase, "rate_limited")
            self._lane.refused(turn, wait)
        else:
            if fault is not UNASKED:
                self._ledger.count(phase, "errors")
            self._lane.failed(turn)
        self._lane.settled()

    async def _attempt(self, request: WebRequest) -> Any:
        import aiohttp

        try:
            async with asyncio.timeout(self.endpoint.timeout_s), self._send(request) as response:
                encoding = response.headers.get("Content-Encoding", "")
                content = await unpack(response.content.iter_chunked(PIECE), encoding, LARGEST_ANSWER)
                status, headers = response.status, response.headers
        except TimeoutError:
            raise Failed(Fault("retry", f"no answer within {self.endpoint.timeout_s:g} s")) from None
        except aiohttp.ClientConnectorError as error:
            said = self._clean(str(error.os_error))
            raise Failed(Fault("unreachable", f"{self.endpoint.base_url} cannot be reached ({said})")) from None
        except (aiohttp.ClientError, OSError, FetchFailed) as error:
            said = type(error).__name__ if not isinstance(error, FetchFailed) else error.reason
            raise Failed(Fault("foreign", f"{self.endpoint.base_url}: the connection broke ({said})")) from None
        text = content.decode("utf-8", "replace")
        if status != 200:
            raise Failed(self._judge(status, self._clean(text)[:SHOWN], retry_after_seconds(headers), request))
        return self._checked(text, request)

    def _send(self, request: WebRequest) -> "aiohttp.client._RequestContextManager":
        from yarl import URL

        if self._session is None:
            import aiohttp

            self._key = self.endpoint.api_key()
            if self._key:
                as_sent = str(URL.build(query={"k": self._key})).removeprefix("?k=")
                self._key_forms = self._key, as_sent, quote(self._key), quote(self._key, safe=""), quote_plus(self._key)
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=True,
            )
        asked, service = request.canonical["request"], self.service
        in_url = dict(asked["params"]) if asked["method"] == "GET" else {}
        headers = {}
        if self._key and service.key_param:
            in_url[service.key_param] = self._key
        elif self._key and service.key_header:
            bearer = service.key_header.lower() == "authorization"
            headers[service.key_header] = f"Bearer {self._key}" if bearer else self._key
        url = URL(self.endpoint.base_url.rstrip("/") + asked["path"], encoded=True).extend_query(in_url)
        body = asked["params"] if asked["method"] == "POST" else None
        return self._session.request(asked["method"], url, json=body, headers=headers, allow_redirects=False)

    def _checked(self, text: str, request: WebRequest) -> Any:
        """Parse an answer that was paid for; one without a list of results where it should be is not kept."""
        self._ledger.pay_search(request.phase, self.service.name, self.endpoint.usd)
        try:
            body = self._scrub(json.loads(text))
            canonical_json(body).encode("utf-8")  # what cannot be stored is no answer
        except (ValueError, RecursionError) as error:
            said = self._clean(text)[:SHOWN] or "an empty body"
            raise Failed(Fault("foreign", f"the reply of {self.endpoint.base_url} is no JSON: {said}")) from error
        try:
            read_results(self.service, body)
        except NoResults as error:
            if not self._lane.answered:
                found = ", ".join(sorted(body)[:9]) if isinstance(body, dict) else type(body).__name__
                hint = f"Found: {found}. Check recall.http.service, recall.http.custom, {self._entry}.base_url"
                self._stop(f"{self.endpoint.base_url} answers, but {error}", hint, request)
            raise Failed(Fault("row", str(error))) from None
        return body

    def _judge(self, status: int, said: str, wait: float | None, request: WebRequest) -> Fault:
        """Decide what follows from a status; stop where every search would meet it."""
        message = f"HTTP {status}: {said}"
        new = not self._lane.answered
        if status in CREDIT:
            self._stop(f"the account's credit is used up ({message})", "Add credit, then run again", request)
        if status == 401 or (status == 403 and new):
            self._stop(f"{self.endpoint.base_url} refuses us ({message})", self._key_advice(), request)
        if new and (status in (404, 405) or 300 <= status < 400):
            hint = f"Check {self._entry}.base_url, and recall.http.service"
            self._stop(f"{self.endpoint.base_url} is not asked like this ({message})", hint, request)
        if status in OVERLOADED:
            return Fault("limited", message, wait)
        return Fault("retry" if status in RETRIED or status >= 500 else "row", message, wait)

    def _key_advice(self) -> str:
        if self.service.name == "searxng":
            return "SearXNG answers so where its settings.yml does not list `json` under search.formats"
        if self.endpoint.api_key_env is None:
            return f"Set {self._entry}.api_key_env to the name of an environment variable that holds the key"
        return f"Check the environment variable {self.endpoint.api_key_env} ({self._entry}.api_key_env)"

    def _mind_hopeless(self, fault: Fault, request: WebRequest) -> None:
        self._lane.given_up += 1
        if not self._lane.answered and self._lane.given_up >= HOPELESS:
            hint = f"Check {self._entry}, recall.http and the service's own log"
            count = self._lane.given_up
            self._stop(f"{count} searches failed and none was answered; the last one: {fault.error}", hint, request)

    def _stop(self, cause: str, hint: str, request: WebRequest) -> NoReturn:
        where = f"search endpoint {self.endpoint.name!r}, phase {request.phase!r}, row {request.row_id}"
        self._end = FinetrailError(cause, where=where, hint=f"{hint}; searches paid so far are kept")
        raise self._end from None

    @property
    def _entry(self) -> str:
        return f"search.endpoints.{self.endpoint.name}"

    def _clean(self, text: str) -> str:
        """Take the key out of a message, and cut it."""
        return redact(self._scrub(text), self._key)

    def _scrub(self, value: Any) -> Any:
        """Take the key out of all texts of a value, as it is and as URLs write it: some services repeat it."""
        if isinstance(value, str):
            for form in self._key_forms:
                value = value.replace(form, "<key>")
            return value
        if isinstance(value, dict):
            return {self._scrub(name): self._scrub(item) for name, item in value.items()}
        return [self._scrub(item) for item in value] if isinstance(value, list) else value
