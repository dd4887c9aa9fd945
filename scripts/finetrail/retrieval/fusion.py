"""Fuse ranked lists by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from collections.abc import Sequence

from finetrail.records import round_score
from finetrail.retrieval import Hit

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
