"""Search services as data: how each is asked, and where its answer has what; presets for three of them."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from finetrail.errors import FinetrailError

QUERY, COUNT = "<query>", "<count>"
MARKED = re.compile(r"</?(?:b|strong|em|i|mark)\b[^>]{0,80}>", re.I)
FIELDS = ("url", "title", "snippet", "date", "id")


@dataclass(frozen=True)
class Service:
    """A JSON search service.

    Args:
        name: its name, part of every search's key.
        method: GET (the parameters go into the URL) or POST (they are the JSON body).
        path: what follows the endpoint's `base_url`; may hold ``<query>``.
        params: the parameters; ``<query>`` and ``<count>`` in them are filled in.
        results: dotted path of the list of results in the answer.
        fields: dotted path of `url`, `title`, `snippet`, `date` and `id` in a result; only `url` is compulsory.
        key_header: header that takes the API key; `Authorization` takes it as a bearer token.
        key_param: parameter of the URL that takes it instead.
    """

    name: str
    method: str
    path: str
    params: Mapping[str, Any]
    results: str
    fields: Mapping[str, str]
    key_header: str | None = None
    key_param: str | None = None


PRESETS: dict[str, Service] = {
    # https://docs.searxng.org/dev/search_api; `json` must stand under search.formats of its settings.yml
    "searxng": Service(
        name="searxng",
        method="GET",
        path="/search",
        params={"q": QUERY, "format": "json"},
        results="results",
        fields={"url": "url", "title": "title", "snippet": "content", "date": "publishedDate"},
    ),
    # https://api-dashboard.search.brave.com/app/documentation/web-search; at most 20 results a search
    "brave": Service(
        name="brave",
        method="GET",
        path="/res/v1/web/search",
        params={"q": QUERY, "count": COUNT, "result_filter": "web", "text_decorations": "false"},
        results="web.results",
        fields={"url": "url", "title": "title", "snippet": "description", "date": "page_age"},
        key_header="X-Subscription-Token",
    ),
    # https://docs.tavily.com/documentation/api-reference/endpoint/search; at most 20 results a search
    "tavily": Service(
        name="tavily",
        method="POST",
        path="/search",
        params={"query": QUERY, "max_results": COUNT},
        results="results",
        fields={"url": "url", "title": "title", "snippet": "content", "date": "published_date"},
        key_header="Authorization",
    ),
}


@dataclass(frozen=True)
class Result:
    """One search result, as the service says; what it does not say is empty."""

    url: str
    title: str
    snippet: str
    date: str
    id: str


class NoResults(Exception):
    """An answer does not hold a list of results where it should."""


def service_of(settings: Mapping[str, Any], keys: Mapping[str, str | None] | None = None) -> Service:
    """Return the preset that the settings of `recall.http` name, or the service that they describe.

    Args:
        settings: `service`, `custom` (None for a preset) and `params`, which are laid over the service's own.
        keys: `key_header` and `key_param` of a service of one's own.

    Raises:
        FinetrailError: there is no such preset, and nothing describes the service.
    """
    name, custom = settings["service"], settings["custom"]
    if custom is None and name not in PRESETS:
        raise FinetrailError(
            f"there is no preset {name!r} of a search service",
            hint=f"Known: {', '.join(PRESETS)}; describe another one under recall.http.custom",
        )
    if custom is None:
        found = PRESETS[name]
    else:
        found = Service(
            name=name,
            method=custom["method"],
            path=custom["path"],
            params=custom["params"],
            results=custom["results"],
            fields=custom["fields"],
            **(keys or {}),
        )
    return Service(**vars(found) | {"params": dict(found.params) | settings["params"]})


def filled(service: Service, query: str, count: int) -> dict[str, Any]:
    """Fill a search into a service's request: method, path and parameters, without address and key."""
    params = {name: _fill(value, query, count) for name, value in service.params.items()}
    if service.method == "GET":
        params = {name: _as_text(value) for name, value in params.items() if value is not None}
    return {"method": service.method, "path": service.path.replace(QUERY, quote(query, safe="")), "params": params}


def _fill(value: Any, query: str, count: int) -> Any:
    if value == COUNT:
        return count
    if isinstance(value, str):
        return value.replace(COUNT, str(count)).replace(QUERY, query)
    if isinstance(value, Mapping):
        return {name: _fill(item, query, count) for name, item in value.items()}
    return [_fill(item, query, count) for item in value] if isinstance(value, list) else value


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def at_path(value: Any, path: str) -> Any:
    """Return what stands at a dotted path (numbers index lists); None where there is nothing."""
    for part in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def read_results(service: Service, body: Any) -> list[Result]:
    """Read the results of an answer, in its order; entries without a URL are passed over.

    Raises:
        NoResults: there is no list of results.
    """
    entries = at_path(body, service.results)
    if entries is None and isinstance(body, dict) and "error" not in body:
        entries = []  # services leave the list out where they find nothing
    if not isinstance(entries, list):
        raise NoResults(f"there is no list of results at {service.results!r}")
    found = ({name: _text(at_path(entry, path)) for name, path in service.fields.items()} for entry in entries)
    return [Result(**dict.fromkeys(FIELDS, "") | values) for values in found if values.get("url")]


def _text(value: Any) -> str:
    """Return a text without marks of emphasis, entities decoded."""
    if value is None or isinstance(value, dict | list):
        return ""
    return html.unescape(MARKED.sub("", str(value))).strip()
