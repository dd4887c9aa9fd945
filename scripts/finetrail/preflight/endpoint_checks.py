"""Whether models can be asked: keys are set, addresses answer, keys are taken, models are known there."""

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from finetrail.calls.cleaning import Cleaner
from finetrail.calls.proxies import proxy_of, shown
from finetrail.config.recipe import RunConfig
from finetrail.config.sections.hosts import host_of
from finetrail.config.sections.llm import Endpoint
from finetrail.config.warnings import references
from finetrail.errors import FinetrailError
from finetrail.preflight.finding import Finding, one_of

SECONDS = 10
LARGEST_LIST = 16 << 20
REFUSED = {401, 403}
ANTHROPIC_HOST = "api.anthropic.com"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Use:
    """A model that a recipe asks: the key that names it, the endpoint, the model's id there."""

    key: str
    endpoint: str
    model: str


def models_asked(run: RunConfig) -> list[Use]:
    """List the models that the recipes of a run ask."""
    return [
        Use(f"overrides.{name}.{key}", reference.endpoint, reference.model)
        for name, recipe in run.recipes.items()
        for key, reference in references(recipe)
        if key != "queries.model" or recipe.queries.enabled
    ]


def check_endpoints(run: RunConfig) -> list[Finding]:
    """Ask every server that is asked over the network for its models; in replay none is asked."""
    if run.llm.mode == "replay":
        return []
    uses = [use for use in models_asked(run) if run.endpoint(use.endpoint).kind == "openai"]
    names = list(dict.fromkeys(use.endpoint for use in uses))
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = pool.map(lambda name: _check_one(name, run.endpoint(name), uses), names)
        return [*(one for found in answers for one in found), *_check_searches(run)]


def _check_one(name: str, endpoint: Endpoint, uses: list[Use]) -> list[Finding]:
    where, variable = f"llm.endpoints.{name}", endpoint.api_key_env
    if variable and not os.environ.get(variable):
        return [
            Finding("error", f"{where}.api_key_env", f"{variable} is not set", f"export {variable}=… before the run")
        ]
    try:
        known = _models(f"{(endpoint.base_url or '').rstrip('/')}/models", os.environ.get(variable or ""))
    except urllib.error.HTTPError as error:
        if error.code in REFUSED:
            what = f"{endpoint.base_url} does not take the key in {variable or 'no variable'} ({error.code})"
            return [Finding("error", f"{where}.api_key_env", what, "Set the right key, or name another variable")]
        what = f"{endpoint.base_url}/models answers {error.code}: keys and models could not be checked"
        return [Finding("warning", f"{where}.base_url", what, "Does the address end in /v1?")]
    except FinetrailError as error:
        return [Finding("error", f"{where}.base_url", error.cause, error.hint or "")]
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        said = Cleaner(os.environ.get(variable or "", "")).message(getattr(error, "reason", error))
        what = f"{_place(endpoint)} does not answer: {said}"
        return [Finding("error", f"{where}.base_url", what, "Start the server, or correct address or site.proxies")]
    found = []
    for use in uses:
        if use.endpoint != name or not known:
            continue
        # Gemini lists `models/NAME`, and is asked for NAME.
        listed = next((one for one in (use.model, f"models/{use.model}") if one in known), None)
        if listed is None:
            what = f"{endpoint.base_url} has no model {use.model}"
            found.append(Finding("error", use.key, what, one_of(known, use.model)))
        elif ends := known[listed]:
            what = f"{endpoint.base_url} ends {use.model} on {ends}"
            fix = "Be done by then, or name a newer model: what is asked of that is paid anew"
            found.append(Finding("warning", use.key, what, fix))
    return found


def _place(endpoint: Endpoint) -> str:
    proxy = proxy_of(endpoint.base_url or "")
    return f"{endpoint.base_url} (through the proxy {shown(proxy)})" if proxy else str(endpoint.base_url)


def _check_searches(run: RunConfig) -> Iterator[Finding]:
    for name, recipe in run.recipes.items():
        if recipe.recall is None or recipe.recall.backend != "http" or recipe.recall.http is None:
            continue
        chosen = recipe.recall.http.search_endpoint
        variable = run.search.endpoints[chosen].api_key_env
        if variable and not os.environ.get(variable):
            what = f"{variable} is not set, which {name} searches with"
            yield Finding(
                "error", f"search.endpoints.{chosen}.api_key_env", what, f"export {variable}=… before the run"
            )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key along to wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


def _models(url: str, key: str | None) -> dict[str, str | None]:
    """Return the ids of the models that a server lists, with the day on which it ends each, where it says so.

    Raises:
        OSError: it cannot be reached, or refuses (`urllib.error.HTTPError`).
        ValueError: it answers something else.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if host_of(url) == ANTHROPIC_HOST:  # this list is no part of its layer for OpenAI's protocol
        url, headers = f"{url}?limit=1000", {"x-api-key": key or "", "anthropic-version": "2023-06-01"}
    request = urllib.request.Request(url, headers=headers)
    proxy = proxy_of(url)
    proxies = urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {})
    with urllib.request.build_opener(_NoRedirects, proxies).open(request, timeout=SECONDS) as reply:
        content: Any = json.loads(reply.read(LARGEST_LIST))
    listed = content.get("data") if isinstance(content, dict) else None
    clean = Cleaner(key or "").message
    known = [one for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict) and "id" in one]
    return {clean(one["id"]): _day(one.get("shutdown_date")) for one in known}  # so OpenAI's list has it


def _day(value: Any) -> str | None:
    return value if isinstance(value, str) and DAY.fullmatch(value) else None
