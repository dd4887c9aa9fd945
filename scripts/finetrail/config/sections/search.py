"""The sections about searching the web: services by address, and what one page may take."""

import re
from typing import Any

from pydantic import model_validator

from finetrail.config.sections.fields import Count, Name, Section, Text, operation
from finetrail.config.sections.llm import (
    ALLOW_HTTP,
    Money,
    Sourced,
    Url,
    VariableName,
    check_key_is_hidden,
    named_fields,
)

_SECRET = re.compile(r"(^|[-_])(api|access|subscription|auth)?[-_]?(key|token|secret|password)$", re.I)


def without_keys(params: dict[str, Any]) -> dict[str, Any]:
    """Refuse parameters that would carry a secret.

    Raises:
        ValueError: names the parameter.
    """
    for name, _ in named_fields(params):
        if _SECRET.search(name):
            raise ValueError(f"`{name}` looks like a key, which would be stored. Name its variable in `api_key_env`")
    return params


class SearchEndpoint(Sourced):
    """Where a search service is asked, and with which patience."""

    base_url: Url = operation(..., "address, without the service's path, such as https://api.search.brave.com")
    api_key_env: VariableName | None = operation(None, "environment variable that holds the key; none for no key")
    timeout_s: float = operation(30.0, "seconds to wait for one answer", gt=0)
    max_concurrency: Count = operation(8, "most searches under way at once")
    max_retries: int = operation(5, "further tries of a search that failed for a passing cause", ge=0)
    requests_per_minute: Count | None = operation(None, "ceiling of searches a minute")
    usd_per_1000: Money | None = operation(None, "USD for a thousand searches; where nothing is said, it is unknown")
    allow_http: bool = operation(False, ALLOW_HTTP)

    @model_validator(mode="after")
    def _check_address(self) -> "SearchEndpoint":
        check_key_is_hidden(self.base_url, self.api_key_env, allow_http=self.allow_http)
        return self


class Pages(Section):
    """What the fetching of one page may take."""

    timeout_s: float = operation(20.0, "seconds from the first connection to the last byte, redirects included", gt=0)
    max_bytes: Count = operation(5_000_000, "largest page, as it comes and unpacked")
    max_redirects: int = operation(5, "redirects that are followed", ge=0)
    max_concurrency: Count = operation(16, "most pages under way at once; two of one host")
    allow_private: bool = operation(False, "addresses of the inner network may be read: for tests and intranets only")
    robots: bool = operation(
        True, "read no page that its site's robots.txt keeps programs from; false for one's own site"
    )
    contact: Text | None = operation(
        None, "who asks, an address of the web or of mail: servers see it in the user agent", pattern=r"^[!-~]+$"
    )


class Search(Section):
    """Search services and pages of the web."""

    endpoints: dict[Name, SearchEndpoint] = operation({}, "search services by name")
    pages: Pages = operation(Pages(), "limits of fetched pages")
