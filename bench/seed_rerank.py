"""The published way to the best chunk of a passage, and the same weights for all pairs at once.

It fits a TF-IDF model anew for every (query, passage) pair, on the passage's chunks and the query.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Pair = tuple[str, list[str]]
"""A query, and the chunks of one passage."""


def per_pair(pairs: Sequence[Pair]) -> list[int]:
    """Return the place of each pair's best chunk, by a model a pair; the first of equal ones."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    best = []
    for query, chunks in pairs:
        table = TfidfVectorizer(token_pattern=r"(?u)\w+").fit_transform([*chunks, query])
        scores = cosine_similarity(table[-1], table[:-1]).ravel().round(6)
        best.append(int(np.argmax(scores)))
    return best


def batched(pairs: Sequence[Pair]) -> list[int]:
    """Return the same places by the same weights, computed for all pairs together."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [text for query, chunks in pairs for text in (*chunks, query)]
    counts: Any = CountVectorizer(token_pattern=r"(?u)\w+").fit_transform(texts).tocsr().astype(np.float64)
    sizes = np.array([len(chunks) + 1 for _, chunks in pairs])
    row = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
    pair = np.repeat(np.arange(len(pairs)), sizes)
    # The words of a pair are columns of its own: how many of its texts hold each?
    own, place = np.unique(pair[row] * np.int64(counts.shape[1]) + counts.indices, return_inverse=True)
    frequency = np.bincount(place, minlength=len(own))
    weights = counts.data * (np.log((1 + sizes[pair[row]]) / (1 + frequency[place])) + 1)
    lengths = np.sqrt(np.bincount(row, weights=weights**2, minlength=len(texts)))
    weights /= np.where(lengths[row] > 0, lengths[row], 1)
    is_query = np.zeros(len(texts), dtype=bool)
    is_query[np.cumsum(sizes) - 1] = True
    asked = np.zeros(len(own))
    asked[place[is_query[row]]] = weights[is_query[row]]
    scores = np.bincount(row, weights=weights * asked[place], minlength=len(texts)).round(6)
    scores[is_query] = -1
    ends = np.cumsum(sizes)
    return [int(np.argmax(scores[end - size : end])) for end, size in zip(ends, sizes, strict=True)]
