"""Scores of a ranking against relevant items: nDCG, recall and reciprocal rank, as trec_eval defines them.

Järvelin and Kekäläinen 2002, with linear gains.
"""

import math
from collections.abc import Collection, Mapping, Sequence


def ndcg(order: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Return nDCG@k with binary gains; relevant items that the ranking lacks count in the ideal.

    Raises:
        ValueError: nothing is relevant.
    """
    return graded_ndcg(order, dict.fromkeys(relevant, 1), k)


def graded_ndcg(order: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Return nDCG@k with the grades as gains; items that the ranking lacks count in the ideal.

    Raises:
        ValueError: nothing is relevant, by a grade above 0.
    """
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k]
    if not ideal:
        raise ValueError("nothing is relevant")
    return _discounted([max(0, grades.get(item, 0)) for item in order[:k]]) / _discounted(ideal)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def recall(order: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Return the share of the relevant items among the first k.

    Raises:
        ValueError: nothing is relevant.
    """
    if not relevant:
        raise ValueError("nothing is relevant")
    return len(set(order[:k]) & set(relevant)) / len(set(relevant))


def reciprocal_rank(order: Sequence[str], relevant: Collection[str]) -> float:
    """Return 1 / rank of the first relevant item; 0 where there is none."""
    return next((1 / rank for rank, item in enumerate(order, start=1) if item in relevant), 0.0)


def measures(order: Sequence[str], grades: Mapping[str, int], cutoffs: Sequence[int]) -> dict[str, float]:
    """Return all measures of one query's ranking: ``ndcg@10``, ``mrr``, and ``recall@k`` of each cutoff.

    Raises:
        ValueError: nothing is relevant, by a grade above 0.
    """
    relevant = {item for item, grade in grades.items() if grade > 0}
    scores = {"ndcg@10": graded_ndcg(order, grades, 10), "mrr": reciprocal_rank(order, relevant)}
    return scores | {f"recall@{k}": recall(order, relevant, k) for k in cutoffs}
