"""The CRAG-MM benchmark's own search (package `cragmm-search-pipeline`): an encoder and an index from the hub."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row
from finetrail.web.candidates import Found, candidates_of, fuse_results
from finetrail.web.services import NoResults, Result, Service, read_results

SOURCE = "cragmm"
FIELDS = {"url": "page_url", "title": "page_name", "snippet": "page_snippet"}
# Snippets are long here; near-identical ones of one row are merged as those of other services.
LIMITS = {"page_characters": 20_000, "merge_above": 0.9}


class Pipeline(Protocol):
    """What the package makes."""

    def __call__(self, inputs: str, k: int) -> Sequence[Mapping[str, Any]]:
        """Return ``[{index, score, page_name, page_url, page_snippet}]``."""


def open_pipeline(settings: Mapping[str, Any]) -> Pipeline:
    """Load encoder and index.

    Raises:
        FinetrailError: the package is not installed, or what it downloads cannot be had.
    """
    try:
        from cragmm_search.search import UnifiedSearchPipeline
    except ImportError as error:
        raise FinetrailError(
            f"the benchmark's own search is not installed ({error})",
            where="recall.backend: cragmm",
            hint="pip install cragmm-search-pipeline, into an environment with the transformers that it was written "
            "for; or use another backend",
        ) from error
    try:
        pipeline: Pipeline = UnifiedSearchPipeline(
            text_model_name=settings["text_model"],
            image_model_name=settings["image_model"],
            web_hf_dataset_id=settings["web_index"],
            web_hf_dataset_tag=settings["web_revision"],
            image_hf_dataset_id=settings["image_index"],
        )
    except Exception as error:  # the package raises whatever its downloads raise
        raise FinetrailError(
            f"the benchmark's own search cannot be opened: {type(error).__name__}: {error}",
            where=settings["web_index"],
            hint="It downloads encoder and index from the hub: run this rule where the hub can be reached",
        ) from error
    return pipeline


def search(pipeline: Pipeline, queries: Iterable[str], k: int) -> Iterator[list[Result]]:
    """Yield the results of each query, best first, entities decoded.

    Raises:
        FinetrailError: the package returns something else.
    """
    service = Service(name=SOURCE, method="GET", path="", params={}, results="", fields=FIELDS)
    for query in queries:
        body = [dict(entry) for entry in pipeline(_as_text(query), k=k)]
        ordered = sorted(body, key=lambda entry: (-round(float(entry.get("score", 0)), 4), str(entry.get("page_url"))))
        try:
            yield read_results(service, ordered)
        except NoResults as error:
            raise FinetrailError(f"the benchmark's own search returns no list: {error}", where=query) from error


def _as_text(query: str) -> str:
    """Keep the package from taking a query for the path or URL of an image, which it would open."""
    return f" {query}" if query.startswith("http") or Path(query).is_file() else query


def recall_row(row: Row, pipeline: Pipeline, top_k: int) -> tuple[Row, list[Row]]:
    """Search for all queries of a row; their lists are fused.

    Returns:
        the row with ``candidates`` and ``dropped_results``, and the passages that they name.
    """
    lists = list(search(pipeline, [query["text"] for query in row["queries"]], top_k))
    found: list[Found] = fuse_results(lists, top_k)
    candidates, passages, dropped = candidates_of(found, None, SOURCE, LIMITS)
    return row | {"candidates": candidates, "dropped_results": dropped}, passages
