"""Scores of a ranking against the set of relevant items: nDCG and recall (Järvelin and Kekäläinen 2002)."""

import math
from collections.abc import Collection, Sequence


def ndcg(order: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Return nDCG@k with binary gains; relevant items that the ranking lacks count in the ideal.

    Raises:
        ValueError: nothing is relevant.
    """
    if not relevant:
        raise ValueError("nothing is relevant")
    gain = sum(1 / math.log2(place + 2) for place, item in enumerate(order[:k]) if item in relevant)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))


def recall(order: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Return the share of the relevant items among the first k.

    Raises:
        ValueError: nothing is relevant.
    """
    if not relevant:
        raise ValueError("nothing is relevant")
    return len(set(order[:k]) & set(relevant)) / len(set(relevant))
