"""BM25 over passages (Robertson and Zaragoza 2009; the idf of Lucene), on the bm25s library."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.retrieval.postings import Corpus, Postings, count_words, open_postings
from finetrail.retrieval.score_sums import ScoreSums
from finetrail.retrieval.search_index import Hit, Passage, in_batches
from finetrail.retrieval.search_words import asked_words
from finetrail.retrieval.top_k import MORE, best_hits, best_hits_of_each, contenders, is_settled, merge_hits

if TYPE_CHECKING:
    import bm25s
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

SCORE_DIGITS = 4
"""Digits that single-precision sums of word scores keep on every machine."""
BATCH = 2048
"""Queries that are searched for together."""
HELD = 100_000
"""Passages, of some queries together, that are sorted at once; small ones of each would cost their calls."""
BLOCK = 4_000_000
"""Counts that are weighed at once, which bounds the memory."""
WORTH_COMPILING = 2e9
"""Scores to be added from which numba's compiling (some ten seconds) pays; below it scipy does the same sums."""


class BM25Index:
    """An index in memory, a shard at a time; `SearchIndex` says how it is asked.

    Args:
        corpus: the counts; weights of one shard are held at a time, 4 to 6 bytes a distinct word of a passage.
        k1: how soon repeated words stop counting.
        b: how much long passages are discounted, from 0 to 1.
        threads: threads that search.

    Raises:
        FinetrailError: no passage has a word.
    """

    source = "bm25"

    def __init__(self, corpus: Corpus, *, k1: float, b: float, threads: int = 1) -> None:
        if not corpus.mean_length:
            raise FinetrailError(f"the corpus of {corpus.passages} passages holds no word to search for")
        self._corpus = corpus
        self._k1 = k1
        self._b = b
        self._threads = threads
        self._opened: tuple[Postings, bm25s.BM25, ScoreSums] | None = None

    @classmethod
    def build(cls, passages: Iterable[Passage], *, k1: float, b: float) -> "BM25Index":
        """Count and weigh passages in memory.

        Raises:
            FinetrailError: there is no passage, or none has a word.
        """
        return cls(Corpus([count_words(passages)]), k1=k1, b=b)

    @classmethod
    def open(cls, folders: Sequence[Path], *, k1: float, b: float, threads: int = 1) -> "BM25Index":
        """Open the shards of an index of words.

        Raises:
            FinetrailError: a folder has no manifest, or no passage has a word.
        """
        return cls(Corpus([open_postings(folder) for folder in folders]), k1=k1, b=b, threads=threads)

    def search(self, queries: Sequence[str], k: int) -> Iterator[list[Hit]]:
        """Yield at most `k` passages a query that share a word with it, best first, ties by passage id."""
        asked = [asked_words(query) for query in queries]
        found = [self._search(shard, asked, k) for shard in self._corpus.shards]
        yield from (merge_hits(lists, k) for lists in zip(*found, strict=True))

    def score(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """Return the scores of chosen passages only, those that `search` gives them; 0 where no word is shared.

        Args:
            asked: queries, each with ids of passages. All are scored in one walk through the shards.
        """
        scores = [[0.0] * len(names) for _, names in asked]
        for shard in self._corpus.shards:
            weights = self._scorer(shard)[0].scores["data"]
            for row, (query, names) in enumerate(asked):
                found = [(number, place) for number, name in enumerate(names) if (place := shard.ids.find(name)) >= 0]
                known = [word for text in asked_words(query) if (word := shard.words.find(text)) >= 0]
                for (number, _), score in zip(found, _sums(shard, weights, known, found), strict=True):
                    scores[row][number] = score
        return scores

    def _search(self, shard: Postings, asked: Sequence[Sequence[str]], k: int) -> list[list[Hit]]:
        scorer, sums = self._scorer(shard)
        places = {word: shard.words.find(word) for word in {word for query in asked for word in query}}
        known = [[places[word] for word in query if places[word] >= 0] for query in asked]
        if len(shard.ids) > k + MORE and _work(shard, known) > WORTH_COMPILING:
            return list(self._compiled(scorer, sums, shard, known, k))
        return list(_plain(sums, shard, known, k))

    def _scorer(self, shard: Postings) -> "tuple[bm25s.BM25, ScoreSums]":
        """Return what scores a shard, compiled or not; that of the shard before is let go."""
        import bm25s

        if self._opened is None or self._opened[0] is not shard:
            self._opened = None
            logging.getLogger("bm25s").setLevel(logging.WARNING)
            scorer = bm25s.BM25(k1=self._k1, b=self._b, method="lucene", backend="numpy")
            scorer.scores = {
                "data": self._weights(shard),
                "indices": shard.passages,
                "indptr": shard.starts,
                "num_docs": len(shard.ids),
            }
            scorer.nonoccurrence_array = None
            scorer.vocab_dict = {}
            scorer.unique_token_ids_set = range(len(shard.words))
            self._opened = shard, scorer, ScoreSums(shard, scorer.scores["data"])
        return self._opened[1:]

    def _weights(self, shard: Postings) -> "Floats":
        """Weigh the counts of a shard by the statistics of the whole corpus, float32 [entries]."""
        import numpy as np

        frequencies = self._corpus.frequencies(shard)
        idf = np.log1p((self._corpus.passages - frequencies + 0.5) / (frequencies + 0.5))
        discount = self._k1 * (1 - self._b + self._b * shard.lengths / self._corpus.mean_length)
        weights = np.empty(len(shard.counts), dtype=np.float32)
        spread = np.repeat(np.arange(len(idf), dtype=np.int32), np.diff(shard.starts))
        for start in range(0, len(weights), BLOCK):
            part = slice(start, start + BLOCK)
            counts = shard.counts[part].astype(np.float64)
            weights[part] = idf[spread[part]] * counts / (counts + discount[shard.passages[part]])
        return weights

    def _compiled(
        self, scorer: "bm25s.BM25", sums: ScoreSums, shard: Postings, known: Sequence[list[int]], k: int
    ) -> Iterator[list[Hit]]:
        scorer.backend = "numba"
        asked = min(k + MORE, len(shard.ids))
        for batch in in_batches(known, BATCH):
            row, searched = -1, [query for query in batch if query]
            if searched:
                places, scores = scorer.retrieve(searched, k=asked, n_threads=self._threads, show_progress=False)
            for query in batch:
                row += bool(query)
                yield _settled(sums, shard, query, places[row], scores[row], k, asked) if query else []


def _settled(
    sums: ScoreSums, shard: Postings, query: list[int], places: Any, scores: Any, k: int, asked: int
) -> list[Hit]:
    """Take what the compiled search found, unless ties reach beyond it."""
    found = scores > 0
    if not is_settled(scores[found], k, asked, SCORE_DIGITS):
        return next(_plain(sums, shard, [query], k))
    return best_hits(shard.ids, places[found], scores[found], k, SCORE_DIGITS)


def _plain(sums: ScoreSums, shard: Postings, queries: Iterable[list[int]], k: int) -> Iterator[list[Hit]]:
    """Score every passage for each query; the sums are those of the compiled search."""
    found, held = [], 0
    for query in queries:
        scores = sums.of(query)
        places = contenders(scores, k, SCORE_DIGITS)
        found.append((places, scores[places]))
        held += len(places)
        if held > HELD:
            yield from best_hits_of_each(shard.ids, found, k, SCORE_DIGITS)
            found, held = [], 0
    yield from best_hits_of_each(shard.ids, found, k, SCORE_DIGITS)


def _sums(shard: Postings, weights: "Floats", query: Sequence[int], found: Sequence[tuple[int, int]]) -> list[float]:
    """Add the words' weights at some places of a shard, in the order and precision of the searches."""
    import numpy as np

    places = np.array([place for _, place in found], dtype=shard.passages.dtype)
    scores = np.zeros(len(places), dtype=weights.dtype)
    for word in query:
        entries = shard.entries(word)
        holding = shard.passages[entries]
        if len(holding):
            at = np.minimum(np.searchsorted(holding, places), len(holding) - 1)
            scores += np.where(holding[at] == places, weights[entries][at], np.float32(0))
    return [float(score) for score in np.round(scores.astype(np.float64), SCORE_DIGITS) + 0.0]


def _work(shard: Postings, known: Sequence[Sequence[int]]) -> int:
    """Count the additions that a search takes, and the passages that are looked through."""
    import numpy as np

    words = [word for query in known for word in query]
    return int(np.diff(shard.starts)[words].sum()) + len(shard.ids) * sum(map(bool, known))
