"""What is asked of the web, as the call store keeps it: a search, a page, and what came of a list of pages.

Beside a search's answer stands the whole body of the service's reply, so that another field map costs nothing. Of a
page the text is kept, and the hash of its body: replay must not depend on the build of a parser, a text is a tenth of
its page, and pages are free to be read again when the extractor changes, which is why its version is in the key.
What came of a list is a record of its own: a page that could not be had is no answer about that page (failures are
never stored), but it is part of what the list came to, and replay needs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from finetrail.rows.records import canonical_json, sha256_text
from finetrail.web.extract import extractor_name
from finetrail.web.services import Service, filled

FORMAT = 1


@dataclass(frozen=True)
class WebRequest:
    """Something asked of the web; `canonical` decides its key, `row_id` and `phase` are for messages and totals."""

    row_id: str
    phase: str
    canonical: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical request, in hexadecimal."""
        return sha256_text(canonical_json(self.canonical))


@dataclass(frozen=True)
class Asker:
    """Makes the requests of one row.

    Args:
        row_id: the row.
        phase: the rule that asks.
        edition: the label that `recall.http.edition` gives; another one asks anew.
    """

    row_id: str
    phase: str
    edition: str | None = None

    def search(self, service: Service, query: str, count: int) -> WebRequest:
        """Make a search."""
        return self._request("search", service=service.name, request=filled(service, query, count))

    def page(self, url: str) -> WebRequest:
        """Make the request for a page's text."""
        return self._request("page", url=url, extractor=extractor_name())

    def reading(self, urls: Sequence[str]) -> WebRequest:
        """Make the question what came of a list of pages."""
        return self._request("reading", urls=list(urls), extractor=extractor_name())

    def _request(self, kind: str, **what: Any) -> WebRequest:
        edition = {} if self.edition is None else {"edition": self.edition}
        return WebRequest(self.row_id, self.phase, {"format": FORMAT, "kind": kind, **what, **edition})
