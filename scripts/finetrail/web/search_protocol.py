"""The search protocol: how a JSON search service is asked, and what its reply says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetrail.calls.base_endpoint import BaseEndpoint
from finetrail.calls.cleaning import Cleaner
from finetrail.calls.faults import Failed, Fault, fault_of_status, retry_after_seconds, status_of_error
from finetrail.calls.http_client import Came, HttpClient
from finetrail.calls.money import Usage
from finetrail.calls.server_protocol import Reply, ServerProtocol
from finetrail.errors import FinetrailError
from finetrail.rows.records import canonical_json
from finetrail.web.services import NoResults, Service, at_path, read_results
from finetrail.web.web_request import WebRequest

LARGEST_ANSWER = 20_000_000
SHOWN = 120
# Keys of an endpoint's entry that say where its price comes from.
PROVENANCE = {"source", "read_on"}
SHOWN_BYTES = 2000
# 432 and 433: so says Tavily when the plan, or the bound of the user's own, is used up.
CREDIT = {402, 432, 433}
NO_JSON = "SearXNG answers so where its settings.yml does not list `json` under search.formats"


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

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any]) -> "SearchEndpoint":
        """Make an endpoint from its entry in the run's configuration."""
        return cls(name=name, **{key: value for key, value in entry.items() if key not in PROVENANCE})

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
        self._cleaner = Cleaner()
        self._client: HttpClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    def asked(self, request: WebRequest) -> str:
        """Name the service."""
        return self.service.name

    async def send(self, request: WebRequest) -> Came:
        """Make one call and return what the service said."""
        from yarl import URL

        client = self.open()
        asked, service = request.canonical["request"], self.service
        in_url = dict(asked["params"]) if asked["method"] == "GET" else {}
        headers = {}
        if self._key and service.key_param:
            in_url[service.key_param] = self._key
        elif self._key and service.key_header:
            bearer = service.key_header.lower() == "authorization"
            headers[service.key_header] = f"Bearer {self._key}" if bearer else self._key
        body = None
        if asked["method"] == "POST":
            headers["Content-Type"] = "application/json"
            body = json.dumps(asked["params"]).encode("utf-8")
        url = URL(self.endpoint.base_url.rstrip("/") + asked["path"], encoded=True).extend_query(in_url)
        return await client.call(asked["method"], url, headers=headers, body=body, most=LARGEST_ANSWER)

    def read(self, request: WebRequest, came: Came, *, answered: bool) -> list[tuple[WebRequest, Reply]]:
        """Read what the service said; with status 200 it is paid for, and stored whatever list it holds."""
        if came.status != 200:
            raise Failed(self._judge(came.status, came, request, answered=answered))
        try:
            body = self._cleaner.value(json.loads(came.body))
            canonical_json(body).encode("utf-8")  # what cannot be stored is no answer
        except (ValueError, RecursionError):
            fault = Fault("foreign", f"the reply of {self.endpoint.base_url} is no JSON: {self._said(came)}")
            return [(request, self._reply({}, Failed(fault), kept=False))]
        status = status_of_error(body.get("error")) if isinstance(body, dict) else None
        if status is not None and at_path(body, self.service.results) is None:
            raise Failed(self._judge(status, came, request, answered=answered))
        return [(request, self._reply({"body": body}, self.problem_of(body, request, answered=answered)))]

    def problem_of(self, body: Any, request: WebRequest, *, answered: bool) -> Failed | FinetrailError | None:
        """Say why an answer is of no use: there is no list of results where it should be; None where there is one."""
        try:
            read_results(self.service, body)
        except NoResults as error:
            if answered:
                return Failed(Fault("row", str(error)))
            found = ", ".join(sorted(body)[:9]) if isinstance(body, dict) else type(body).__name__
            hint = (
                f"Found: {self._cleaner.message(found, SHOWN)}. Check recall.http.service, recall.http.custom, "
                f"{self.endpoint.entry}.base_url"
            )
            return self._stopped(f"{self.endpoint.base_url} answers, but {error}", hint, request)
        return None

    def _reply(self, content: Any, problem: Failed | FinetrailError | None, *, kept: bool = True) -> Reply:
        usd = self.endpoint.usd
        return Reply(content, self.service.name, usage=Usage(), usd=usd, problem=problem, kept=kept)

    def nothing_works(self, fault: Fault, request: WebRequest) -> FinetrailError:
        """Describe a fault that concerns all searches."""
        return self._stopped(fault.error, f"Check that the service runs, and {self.endpoint.entry}.base_url", request)

    def nobody_answered(self, given_up: int, fault: Fault, request: WebRequest) -> FinetrailError:
        """Describe that so many searches were given up, and none was answered."""
        cause = f"{given_up} searches failed and none was answered; the last one: {fault.error}"
        return self._stopped(cause, f"Check {self.endpoint.entry}, recall.http and the service's own log", request)

    def open(self) -> HttpClient:
        """Return the client; the key is read with the first call, since what is stored needs none.

        Raises:
            FinetrailError: there is no key, or no way to the service.
        """
        if self._client is None:
            base_url = self.endpoint.base_url
            self._key = self.endpoint.api_key(f"search endpoint {self.endpoint.name!r}", base_url)
            self._cleaner = Cleaner(self._key)
            self._client = HttpClient(self.endpoint, base_url, self._cleaner)
        return self._client

    def _said(self, came: Came) -> str:
        text = came.body[:SHOWN_BYTES].decode("utf-8", "replace")
        return self._cleaner.message(text, SHOWN) or "an empty body"

    def _judge(self, status: int, came: Came, request: WebRequest, *, answered: bool) -> Fault:
        """Decide what follows from a status; stop where every search would meet it."""
        url, message = self.endpoint.base_url, f"HTTP {status}: {self._said(came)}"
        if status in CREDIT:
            raise self._stopped(f"the account's credit is used up ({message})", "Add credit, then run again", request)
        if status == 401 or (status == 403 and not answered):
            advice = NO_JSON if self.service.name == "searxng" else self.endpoint.key_advice()
            raise self._stopped(f"{url} refuses us ({message})", advice, request)
        if not answered and status in (404, 405):
            hint = f"Check {self.endpoint.entry}.base_url, and recall.http.service"
            raise self._stopped(f"{url} is not asked like this ({message})", hint, request)
        return fault_of_status(status, message, retry_after_seconds(came.headers))

    def _stopped(self, cause: str, hint: str, request: WebRequest) -> FinetrailError:
        where = f"search endpoint {self.endpoint.name!r}, phase {request.phase!r}, row {request.row_id}"
        return FinetrailError(cause, where=where, hint=f"{hint}; searches paid so far are kept")
