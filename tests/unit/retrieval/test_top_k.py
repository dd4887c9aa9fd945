"""The best of many scores: what is left out early never belongs to them."""

import numpy as np
import pytest

from finetrail.retrieval.texts import Texts
from finetrail.retrieval.top_k import PICKED, best_hits, contenders

DIGITS = 4
K = 7


def drawn(seed: int, kind: str, count: int) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    """Draw scores that hardly differ, that mostly tie, or of which few are positive."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count).astype(np.float32)
    if kind == "near":
        return (5 + scores * np.float32(0.0004)).astype(np.float32)
    if kind == "tied":
        return np.round(scores * 3).astype(np.float32)
    return np.where(scores < K / 2 / count, scores + 1, 0).astype(np.float32)


@pytest.mark.parametrize("count", [1, K, PICKED * K, PICKED * K + 40, 5000])
@pytest.mark.parametrize("kind", ["near", "tied", "few"])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_are_those_of_all_scores(seed: int, kind: str, count: int) -> None:
    scores = drawn(seed, kind, count)
    ids = Texts.of([f"{place:05}" for place in range(count)])
    every = np.flatnonzero(scores > 0)
    some = contenders(scores, K, DIGITS)
    assert best_hits(ids, some, scores[some], K, DIGITS) == best_hits(ids, every, scores[every], K, DIGITS)


def test_scores_are_left_out_early() -> None:
    scores = drawn(1, "near", 100_000) + np.arange(100_000, dtype=np.float32)
    assert len(contenders(scores, K, DIGITS)) < 100
