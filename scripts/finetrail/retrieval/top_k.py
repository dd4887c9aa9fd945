"""The best of many scores, the same on every machine: rounded before they are compared, ties by id."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from finetrail.retrieval.search_index import Hit
from finetrail.retrieval.texts import Texts

if TYPE_CHECKING:
    import numpy as np

    Scores = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Places = np.ndarray[Any, np.dtype[np.integer[Any]]]

MORE = 10
"""Further passages that an engine is asked for: those that tie with the last one must be seen."""

PICKED = 32
"""Scores of which the best one stands for all."""


def contenders(scores: "Scores", k: int, digits: int) -> "Places":
    """Return the places of the positive scores that may be among the best `k` once they are rounded.

    Args:
        scores: one a passage, 0 where it was not found; single or double precision.
        k: how many are wanted.
        digits: decimal places that are the same on every machine.
    """
    import numpy as np

    if len(scores) <= k:
        return np.flatnonzero(scores > 0)
    columns = len(scores) // PICKED
    # The k-th best of the columns' best: at least k scores reach it, and it is found without sorting them all.
    table = scores[: columns * PICKED].reshape(PICKED, columns)
    tops = table.max(axis=0) if columns > k else scores
    parted = tops.copy()
    parted.partition(len(tops) - k)
    # Who is a whole last digit below cannot be rounded up to it.
    least = float(parted[len(tops) - k]) - 10.0**-digits
    if least <= 0 or columns <= k:
        return np.flatnonzero((scores >= least) & (scores > 0))
    reaching = (tops >= least).nonzero()[0]  # only in these columns is anybody looked for
    rows, numbers = (table.take(reaching, axis=1) >= least).nonzero()
    found = rows * columns + reaching[numbers]
    if columns * PICKED == len(scores):
        return found
    rest = (scores[columns * PICKED :] >= least).nonzero()[0] + columns * PICKED
    return np.concatenate([found, rest])


def best_hits(ids: Texts, places: "Places", scores: "Scores", k: int, digits: int) -> list[Hit]:
    """Return the best `k` of the scored passages, best first, ties by id; see `best_hits_of_each`."""
    return best_hits_of_each(ids, [(places, scores)], k, digits)[0]


def best_hits_of_each(ids: Texts, found: Sequence[tuple["Places", "Scores"]], k: int, digits: int) -> list[list[Hit]]:
    """Return the best `k` of the passages that were scored for each query, best first, ties by id.

    Args:
        ids: the index's passage ids, sorted.
        found: for each query the places of passages among them, and the scores of these, in any order.
        k: how many are wanted.
        digits: decimal places that are the same on every machine.
    """
    import numpy as np

    if not found:
        return []
    sizes = np.array([len(places) for places, _ in found])
    places = np.concatenate([places for places, _ in found])
    scores = np.concatenate([scores for _, scores in found])
    rounded = scores.astype(np.float64).round(digits) + 0.0
    row = np.repeat(np.arange(len(found)), sizes)
    order = np.lexsort((places, -rounded, row))
    rank = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each in its row, as `row` is sorted
    order = order[rank < k]
    hits = list(map(Hit._make, zip(ids.pick(places[order]), rounded[order].tolist(), strict=True)))
    ends = np.cumsum(np.minimum(sizes, k)).tolist()
    return [hits[begin:end] for begin, end in pairwise([0, *ends])]


def is_settled(scores: "Scores", k: int, asked: int, digits: int) -> bool:
    """Tell whether passages that an engine left out cannot belong to the best `k`.

    Args:
        scores: what the engine returned, best first.
        k: how many are wanted.
        asked: how many it was asked for; fewer mean that there are no more.
        digits: decimal places that count.
    """
    if len(scores) < asked:
        return True
    return len(scores) > k and round(float(scores[-1]), digits) < round(float(scores[k - 1]), digits)


def merge_hits(lists: Sequence[list[Hit]], k: int) -> list[Hit]:
    """Merge the best hits of the shards of one corpus, each with at most `k` of its own, best first."""
    if len(lists) == 1:
        return lists[0]
    return sorted((hit for hits in lists for hit in hits), key=lambda hit: (-hit.score, hit.passage_id))[:k]
