"""Fuse ranked lists by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from collections.abc import Sequence

from finetrail.retrieval.search_index import Hit
from finetrail.rows.records import Row, round_score

FUSION_K = 60
"""The constant of that paper."""


def fuse(lists: Sequence[Sequence[Hit]], most: int) -> list[Hit]:
    """Fuse ranked lists by reciprocal rank; one list keeps its own scores. Ties go by passage id."""
    if len(lists) == 1:
        return list(lists[0][:most])
    scores: dict[str, float] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            scores[hit.passage_id] = scores.get(hit.passage_id, 0.0) + 1 / (FUSION_K + rank)
    fused = [Hit(name, round_score(score)) for name, score in scores.items()]
    return sorted(fused, key=lambda hit: (-hit.score, hit.passage_id))[:most]


def found_by(lists: Sequence[Sequence[Hit]], origins: Sequence[Row]) -> dict[str, list[Row]]:
    """Say of each passage which lists have it, and at which rank.

    Args:
        lists: ranked lists.
        origins: what each list is from, such as ``{"query": 0}``, the place of a query in its row.

    Returns:
        passage id → ``{**origin, "rank"}`` of each list that has it, ranks from 1.
    """
    found: dict[str, list[Row]] = {}
    for hits, origin in zip(lists, origins, strict=True):
        for rank, hit in enumerate(hits, start=1):
            found.setdefault(hit.passage_id, []).append({**origin, "rank": rank})
    return found
