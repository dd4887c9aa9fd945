"""TF-IDF over passages as scikit-learn defines it, its best hits by the library sparse_dot_topn.

Counts enter by their logarithm, the idf is smooth, passages and queries have unit length; the score is their cosine.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.retrieval.postings import Corpus, Postings
from finetrail.retrieval.search_index import Hit, in_batches
from finetrail.retrieval.search_words import asked_words
from finetrail.retrieval.texts import Texts
from finetrail.retrieval.top_k import MORE, best_hits, is_settled, merge_hits

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

    Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

SCORE_DIGITS = 5
"""Digits that single-precision sums of products below 1 keep on every machine."""
BATCH = 2048
"""Queries that are searched for together."""


class TfidfIndex:
    """An index in memory, a shard at a time; `SearchIndex` says how it is asked.

    Args:
        corpus: the counts.
        threads: threads that search.

    Raises:
        FinetrailError: no passage has a word.
    """

    source = "tfidf"

    def __init__(self, corpus: Corpus, *, threads: int = 1) -> None:
        if not corpus.mean_length:
            raise FinetrailError(f"the corpus of {corpus.passages} passages holds no word to search for")
        self._corpus = corpus
        self._threads = threads
        self._opened: tuple[Postings, Floats, csr_matrix] | None = None

    def search(self, queries: Sequence[str], k: int) -> Iterator[list[Hit]]:
        """Yield at most `k` passages a query that share a word with it, best first, ties by passage id."""
        found = [self._search(shard, queries, k) for shard in self._corpus.shards]
        yield from (merge_hits(lists, k) for lists in zip(*found, strict=True))

    def _search(self, shard: Postings, queries: Sequence[str], k: int) -> list[list[Hit]]:
        idf, weights = self._weighed(shard)
        return [
            hits
            for batch in in_batches(queries, BATCH)
            for hits in _best(self._vectors(shard, idf, batch), weights, shard.ids, k, self._threads)
        ]

    def _weighed(self, shard: Postings) -> "tuple[Floats, csr_matrix]":
        """Return the idf of a shard's words, and its weights as a table of words by passages."""
        import numpy as np
        from scipy.sparse import csr_matrix

        if self._opened is None or self._opened[0] is not shard:
            self._opened = None
            idf = self._idf(self._corpus.frequencies(shard))
            weights = np.log(shard.counts.astype(np.float32)) + np.float32(1)
            weights *= np.repeat(idf.astype(np.float32), np.diff(shard.starts))
            norms = np.sqrt(np.bincount(shard.passages, weights=weights * weights, minlength=len(shard.ids)))
            weights /= np.maximum(norms, np.finfo(np.float32).tiny).astype(np.float32)[shard.passages]
            shape = (len(shard.words), len(shard.ids))
            self._opened = shard, idf, csr_matrix((weights, shard.passages, shard.starts), shape=shape, copy=False)
        return self._opened[1:]

    def _idf(self, frequencies: Any) -> "Floats":
        import numpy as np

        made: Floats = np.log((1 + self._corpus.passages) / (1 + frequencies)) + 1
        return made

    def _vectors(self, shard: Postings, idf: "Floats", queries: Sequence[str]) -> "csr_matrix":
        """Make query vectors over a shard's words; a word that only other shards have counts for the length."""
        import numpy as np
        from scipy.sparse import csr_matrix

        starts, columns, data = [0], [], []
        for query in queries:
            asked = asked_words(query)
            held = np.unique(asked, return_counts=True) if asked else ((), ())
            places = [shard.words.find(str(word)) for word in held[0]]
            weights = [
                (1 + np.log(count)) * (idf[place] if place >= 0 else self._elsewhere(str(word)))
                for word, count, place in zip(*held, places, strict=True)
            ]
            length = float(np.linalg.norm(weights)) or 1.0
            columns += [place for place in places if place >= 0]
            data += [weight / length for weight, place in zip(weights, places, strict=True) if place >= 0]
            starts.append(len(columns))
        values = np.array(data, dtype=np.float32)
        return csr_matrix((values, np.array(columns, dtype=np.int32), starts), shape=(len(queries), len(shard.words)))

    def _elsewhere(self, word: str) -> float:
        """Return the idf of a word that a shard lacks; 0, as for scikit-learn, where no shard has it."""
        import numpy as np

        places = [(shard, shard.words.find(word)) for shard in self._corpus.shards]
        holding = sum(int(np.diff(shard.starts[place : place + 2])[0]) for shard, place in places if place >= 0)
        return float(self._idf(holding)) if holding else 0.0


def _best(queries: "csr_matrix", weights: "csr_matrix", ids: Texts, k: int, threads: int) -> Iterator[list[Hit]]:
    """Search for a batch; where ties may reach beyond what was found, for more."""
    asked = min(k + MORE, len(ids))
    if not asked:
        yield from ([] for _ in range(queries.shape[0]))
        return
    found = _top(queries, weights, asked, threads)
    for row in range(queries.shape[0]):
        hits, wanted, place = found, asked, row
        while not is_settled(_row(hits, place)[1], k, wanted, SCORE_DIGITS) and wanted < len(ids):
            wanted, place = min(4 * wanted, len(ids)), 0
            hits = _top(queries[row], weights, wanted, 1)
        yield best_hits(ids, *_row(hits, place), k, SCORE_DIGITS)


def _top(queries: "csr_matrix", weights: "csr_matrix", most: int, threads: int) -> "csr_matrix":
    from sparse_dot_topn import sp_matmul_topn

    return sp_matmul_topn(queries, weights, top_n=most, sort=True, n_threads=threads)


def _row(table: "csr_matrix", row: int) -> tuple[Any, Any]:
    part = slice(table.indptr[row], table.indptr[row + 1])
    return table.indices[part], table.data[part]
