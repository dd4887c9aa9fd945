"""The best of many scores, the same on every machine: rounded before they are compared, ties by id."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from finetrail.retrieval.search_index import Hit

if TYPE_CHECKING:
    import numpy as np

    Scores = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Places = np.ndarray[Any, np.dtype[np.integer[Any]]]

MORE = 10
"""Further passages that an engine is asked for: those that tie with the last one must be seen."""

PICKED = 32
"""Scores of which the best one stands for all."""


def contenders(scores: "Scores", k: int, digits: int) -> "Places":
    """Return the places, rising, of the positive scores that may be among the best `k` once they are rounded.

    Args:
        scores: one a passage, 0 where it was not found; single or double precision.
        k: how many are wanted.
        digits: decimal places that are the same on every machine.
    """
    import numpy as np

    columns = len(scores) // PICKED
    if columns <= k:
        return np.flatnonzero(scores > 0)
    # The k-th best of the columns' best: at least k scores reach it, and it is found without sorting them all.
    table = scores[: columns * PICKED].reshape(PICKED, columns)
    tops = table.max(axis=0)
    # Who is a whole last digit below cannot be rounded up to it.
    least = float(np.partition(tops, columns - k)[columns - k]) - 10.0**-digits
    if least <= 0:
        return np.flatnonzero(scores > 0)
    reaching = np.flatnonzero(tops >= least)  # only in these columns is anybody looked for
    rows, numbers = np.nonzero(table[:, reaching] >= least)
    rest = np.flatnonzero(scores[columns * PICKED :] >= least) + columns * PICKED
    return np.concatenate([np.sort(rows * columns + reaching[numbers]), rest])


def best_hits(ids: Sequence[str], places: "Places", scores: "Scores", k: int, digits: int) -> list[Hit]:
    """Return the best `k` of the scored passages, best first, ties by id.

    Args:
        ids: the index's passage ids, sorted.
        places: place of each scored passage among them.
        scores: score of each, in any order.
        k: how many are wanted.
        digits: decimal places that are the same on every machine.
    """
    import numpy as np

    rounded = np.round(scores.astype(np.float64), digits) + 0.0
    if len(places) > k:
        # All that tie with the k-th stay in, so that the id decides and not the partition.
        keep = rounded >= np.partition(rounded, len(rounded) - k)[len(rounded) - k]
        places, rounded = places[keep], rounded[keep]
    order = np.lexsort((places, -rounded))[:k]
    best = zip(places[order].tolist(), rounded[order].tolist(), strict=True)
    return [Hit(ids[place], score) for place, score in best]


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


def merge_hits(lists: Iterable[Sequence[Hit]], k: int) -> list[Hit]:
    """Merge the best hits of the shards of one corpus."""
    return sorted((hit for hits in lists for hit in hits), key=lambda hit: (-hit.score, hit.passage_id))[:k]
