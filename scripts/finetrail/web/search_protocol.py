"""The search protocol: how a JSON search service is asked, and what its reply says."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from finetrail.calls.base_endpoint import BaseEndpoint
from finetrail.calls.faults import Failed, Fault, fault_of_status, redact, retry_after_seconds
from finetrail.calls.server_protocol import Reply, ServerProtocol
from finetrail.errors import FinetrailError
from finetrail.rows.records import canonical_json
from finetrail.web.fetch import PIECE, FetchFailed, unpack
from finetrail.web.services import NoResults, Service, read_results
from finetrail.web.web_request import WebRequest

if TYPE_CHECKING:
    import aiohttp

LARGEST_ANSWER = 20_000_000
SHOWN = 120
# 432 and 433: so says Tavily when the plan, or the bound of the user's own, is used up.
CREDIT = {402, 432, 433}
NO_JSON = "SearXNG answers so where its settings.yml does not list `json` under search.formats"
Came = tuple[int, str, Mapping[str, str]]  # status, text and headers


@dataclass(frozen=True)
class SearchEndpoint(BaseEndpoint):
    """Where a service is asked; the fields are keys of `search.endpoints`.

    Args:
        base_url: what comes before the service's path.
        usd_per_1000: price of a thousand searches; None where it is not known.
    """

    SECTION = "search.endpoints"

    base_url: str
    usd_per_1000: float | None = None

    @property
    def usd(self) -> float | None:
        """The price of one search."""
        return None if self.usd_per_1000 is None else self.usd_per_1000 / 1000


class SearchProtocol(ServerProtocol[WebRequest]):
    """Asks one service, as it is described, at one endpoint."""

    endpoint: SearchEndpoint

    def __init__(self, endpoint: SearchEndpoint, service: Service) -> None:
        self.endpoint = endpoint
        self.service = service
        self._key = ""
        self._key_forms: tuple[str, ...] = ()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def asked(self, request: WebRequest) -> str:
        """Name the service."""
        return self.service.name

    async def send(self, request: WebRequest) -> Came:
        """Make one call and return what the service said."""
        import aiohttp

        try:
            async with asyncio.timeout(self.endpoint.timeout_s), self._send(request) as response:
                encoding = response.headers.get("Content-Encoding", "")
                content = await unpack(response.content.iter_chunked(PIECE), encoding, LARGEST_ANSWER)
        except TimeoutError:
            raise Failed(Fault("retry", f"no answer within {self.endpoint.timeout_s:g} s")) from None
        except aiohttp.ClientConnectorError as error:
            said = self._clean(str(error.os_error))
            raise Failed(Fault("unreachable", f"{self.endpoint.base_url} cannot be reached ({said})")) from None
        except (aiohttp.ClientError, OSError, FetchFailed) as error:
            said = type(error).__name__ if not isinstance(error, FetchFailed) else error.reason
            raise Failed(Fault("foreign", f"{self.endpoint.base_url}: the connection broke ({said})")) from None
        return response.status, content.decode("utf-8", "replace"), response.headers

    def read(self, request: WebRequest, came: Came, *, answered: bool) -> list[tuple[WebRequest, Reply]]:
        """Read what the service said; with status 200 it is paid for."""
        if came[0] != 200:
            raise Failed(self._judge(came, request, answered=answered))
        content, problem = {}, None
        try:
            content = {"body": self._body(came[1], request, answered=answered)}
        except (Failed, FinetrailError) as error:
            problem = error
        return [(request, Reply(content, self.service.name, usd=self.endpoint.usd, problem=problem))]

    def nothing_works(self, fault: Fault, request: WebRequest) -> FinetrailError:
        """Describe a fault that concerns all searches."""
        return self._stopped(fault.error, f"Check that the service runs, and {self.endpoint.entry}.base_url", request)

    def nobody_answered(self, given_up: int, fault: Fault, request: WebRequest) -> FinetrailError:
        """Describe that so many searches were given up, and none was answered."""
        cause = f"{given_up} searches failed and none was answered; the last one: {fault.error}"
        return self._stopped(cause, f"Check {self.endpoint.entry}, recall.http and the service's own log", request)

    def _send(self, request: WebRequest) -> "aiohttp.client._RequestContextManager":
        from yarl import URL

        if self._session is None:
            import aiohttp

            self._key = self.endpoint.api_key(f"search endpoint {self.endpoint.name!r}")
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

    def _body(self, text: str, request: WebRequest, *, answered: bool) -> Any:
        """Parse an answer; one without a list of results where it should be is not kept."""
        try:
            body = self._scrub(json.loads(text))
            canonical_json(body).encode("utf-8")  # what cannot be stored is no answer
        except (ValueError, RecursionError) as error:
            said = self._clean(text)[:SHOWN] or "an empty body"
            raise Failed(Fault("foreign", f"the reply of {self.endpoint.base_url} is no JSON: {said}")) from error
        try:
            read_results(self.service, body)
        except NoResults as error:
            if answered:
                raise Failed(Fault("row", str(error))) from None
            found = ", ".join(sorted(body)[:9]) if isinstance(body, dict) else type(body).__name__
            hint = f"Found: {found}. Check recall.http.service, recall.http.custom, {self.endpoint.entry}.base_url"
            raise self._stopped(f"{self.endpoint.base_url} answers, but {error}", hint, request) from None
        return body

    def _judge(self, came: Came, request: WebRequest, *, answered: bool) -> Fault:
        """Decide what follows from a status; stop where every search would meet it."""
        status, text, headers = came
        url, message = self.endpoint.base_url, f"HTTP {status}: {self._clean(text)[:SHOWN]}"
        if status in CREDIT:
            raise self._stopped(f"the account's credit is used up ({message})", "Add credit, then run again", request)
        if status == 401 or (status == 403 and not answered):
            advice = NO_JSON if self.service.name == "searxng" else self.endpoint.key_advice()
            raise self._stopped(f"{url} refuses us ({message})", advice, request)
        if not answered and (status in (404, 405) or 300 <= status < 400):
            hint = f"Check {self.endpoint.entry}.base_url, and recall.http.service"
            raise self._stopped(f"{url} is not asked like this ({message})", hint, request)
        return fault_of_status(status, message, retry_after_seconds(headers))

    def _stopped(self, cause: str, hint: str, request: WebRequest) -> FinetrailError:
        where = f"search endpoint {self.endpoint.name!r}, phase {request.phase!r}, row {request.row_id}"
        return FinetrailError(cause, where=where, hint=f"{hint}; searches paid so far are kept")

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
