"""BM25 over passages (Robertson and Zaragoza 2009; the idf of Lucene), on the bm25s library."""

import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from finetrail.errors import FinetrailError
from finetrail.retrieval import Hit, Passage, words

if TYPE_CHECKING:
    import bm25s
    import numpy as np

SCORE_DIGITS = 4
"""Digits that single-precision sums of word scores keep on every machine."""


class BM25Index:
    """An index in memory; `SearchIndex` says how it is asked.

    Postings are held in single precision (about 8 bytes a distinct word of a passage), texts are not held.
    """

    source = "bm25"

    def __init__(self, ids: list[str], scorer: "bm25s.BM25", vocabulary: dict[str, int]) -> None:
        self._ids = ids
        self._scorer = scorer
        self._vocabulary = vocabulary

    @classmethod
    def build(cls, passages: Iterable[Passage], *, k1: float, b: float) -> "BM25Index":
        """Index title and text of every passage, as lower-cased words.

        Raises:
            FinetrailError: there is no passage, or none has a word.
        """
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)
        ids: list[str] = []
        vocabulary: dict[str, int] = {}
        documents: list[array[int]] = []
        for passage in passages:
            ids.append(passage["id"])
            tokens = words(f"{passage['title']} {passage['text']}")
            documents.append(array("i", [vocabulary.setdefault(word, len(vocabulary)) for word in tokens]))
        if not vocabulary:
            raise FinetrailError(f"the corpus of {len(ids)} passages holds no word to search for")
        scorer = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy", csc_backend="numpy")
        scorer.index((documents, vocabulary), create_empty_token=False, show_progress=False)
        return cls(ids, scorer, vocabulary)

    def search(self, queries: Sequence[str], k: int) -> Iterator[list[Hit]]:
        """Yield at most `k` passages a query that share a word with it, best first, ties by passage id."""
        for query in queries:
            known = [self._vocabulary[word] for word in words(query) if word in self._vocabulary]
            yield self._best(self._scorer.get_scores_from_ids(known), k) if known else []

    def _best(self, scores: "np.ndarray[tuple[int], np.dtype[np.float32]]", k: int) -> list[Hit]:
        import numpy as np

        found = np.flatnonzero(scores)
        rounded = np.round(scores[found].astype(np.float64), SCORE_DIGITS)
        if len(found) > k:
            # All passages that tie with the k-th stay in, so that the id decides and not the partition.
            threshold = np.partition(rounded, len(rounded) - k)[len(rounded) - k]
            keep = rounded >= threshold
            found, rounded = found[keep], rounded[keep]
        hits = [Hit(self._ids[i], float(score)) for i, score in zip(found.tolist(), rounded, strict=True)]
        return sorted(hits, key=lambda hit: (-hit.score, hit.passage_id))[:k]
