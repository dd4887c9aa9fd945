"""From lists of search results to the candidates of a row, and to the passages that they name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetrail.retrieval.fusion import found_by, fuse
from finetrail.retrieval.search_index import Hit
from finetrail.retrieval.search_words import words
from finetrail.rows.records import Row, content_id
from finetrail.splits.overlap.shingles import merge_near
from finetrail.web.extract import PageText
from finetrail.web.services import Result
from finetrail.web.url_place import place_of_url


@dataclass(frozen=True)
class Found:
    """A result of a row's searches, with its fused score; one list has ranks only, and None.

    Attributes:
        found_by: which of the row's queries have it, and at which rank.
    """

    result: Result
    score: float | None
    found_by: tuple[Row, ...]


@dataclass(frozen=True)
class _Reading:
    """A result with the passage that it becomes, and why that is the snippet where a page was wanted."""

    found: Found
    passage: Row
    text_of: str
    failed: str | None


def fuse_results(lists: Sequence[Sequence[Result]], most: int) -> list[Found]:
    """Fuse the results of a row's searches; of one URL the best ranked result speaks."""
    by_url: dict[str, tuple[int, Result]] = {}
    ranked: list[list[Hit]] = []
    for results in lists:
        hits: dict[str, Hit] = {}
        for rank, result in enumerate(results):
            url = place_of_url(result.url)
            hits.setdefault(url, Hit(url, 0.0))
            if url not in by_url or rank < by_url[url][0]:
                by_url[url] = rank, result
        ranked.append([*hits.values()])
    origins = found_by(ranked, [{"query": place} for place in range(len(ranked))])
    return [
        Found(by_url[hit.passage_id][1], hit.score if len(lists) > 1 else None, tuple(origins[hit.passage_id]))
        for hit in fuse(ranked, most)
    ]


def urls_of(found: Iterable[Found]) -> list[str]:
    """Return the URLs whose pages are to be read."""
    return [place_of_url(one.result.url) for one in found]


def candidates_of(
    found: Sequence[Found], pages: Sequence[PageText | str] | None, source: str, settings: Mapping[str, Any]
) -> tuple[list[Row], list[Row], list[Row]]:
    """Make candidates and passages of a row's results.

    Args:
        found: the results, best first.
        pages: for each its page, or why there is none; None where only snippets are wanted.
        source: the name of the service.
        settings: `page_characters` and `merge_above`.

    Returns:
        the row's ``candidates``, the passages that they name, and the results that have no text, with the reason.
    """
    outcomes = [None] * len(found) if pages is None else pages
    read = [_read(one, page, settings["page_characters"]) for one, page in zip(found, outcomes, strict=True)]
    dropped = [_dropped(one) for one in read if not one.passage["text"].strip()]
    read = [one for one in read if one.passage["text"].strip()]
    first_of = merge_near((words(one.passage["text"]) for one in read), settings["merge_above"])
    candidates: list[Row] = []
    passages: list[Row] = []
    for place, one in enumerate(read):
        if first_of[place] != place:
            continue
        merged = [read[other].passage["url"] for other, first in enumerate(first_of) if first == place != other]
        candidates.append(_candidate(one, len(candidates) + 1, source, merged))
        passages.append(one.passage)
    return candidates, passages, dropped


def _read(found: Found, page: PageText | str | None, most: int) -> _Reading:
    result, url = found.result, place_of_url(found.result.url)
    if isinstance(page, PageText):
        title, text, text_of, failed = page.title or result.title, page.text[:most], "page", None
    else:
        title, text, text_of, failed = result.title, result.snippet, "snippet", page
    passage = {"id": content_id("web", url, title, text), "title": title, "text": text, "url": url}
    return _Reading(found, passage, text_of, failed)


def _dropped(one: _Reading) -> Row:
    return {"url": one.passage["url"], "reason": one.failed or "no text"}


def _candidate(one: _Reading, rank: int, source: str, merged: list[str]) -> Row:
    result = one.found.result
    said = {"date": result.date, "result_id": result.id, "failed": one.failed, "merged": merged}
    return {
        "passage_id": one.passage["id"],
        "rank": rank,
        "score": one.found.score,
        "source": source if one.found.score is None else f"{source}+rrf",
        "found_by": list(one.found.found_by),
        "url": one.passage["url"],
        "text_of": one.text_of,
        **{name: value for name, value in said.items() if value},
    }
