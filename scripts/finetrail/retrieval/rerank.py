"""Rerank candidate passages by their best chunk, with one TF-IDF model over the chunks of the whole corpus.

The model is fitted once; a query then costs one product of the sparse rows of its candidates' chunks with
the query's vector.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from finetrail.errors import FinetrailError
from finetrail.retrieval.search_index import Passage
from finetrail.retrieval.search_words import words
from finetrail.rows.records import Row
from finetrail.text.chunks import chunk_spans

if TYPE_CHECKING:
    import numpy as np

SCORE_DIGITS = 6


class Chunk(NamedTuple):
    """A part of a passage, ``text[start:end]``, and its score for the query (of TF-IDF the cosine, 0 to 1)."""

    passage_id: str
    start: int
    end: int
    score: float


class Ranker(Protocol):
    """Whatever ranks the chunks of candidate passages."""

    def rank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[str]], *, keep: int, per_passage: int = 1
    ) -> Iterator[list[Chunk]]:
        """Yield the best `keep` chunks of each query's candidate passages, best first.

        At most `per_passage` chunks of one passage are kept. Scores are rounded before they are compared;
        ties go by passage id, then by the place in the passage.

        Raises:
            FinetrailError: a candidate is not in the corpus.
        """


class ChunkRanker:
    """TF-IDF vectors of all chunks of a corpus, each read together with its passage's title.

    Counts enter by their logarithm, idf is smooth and rows have unit length, as scikit-learn defines them. Memory holds
    12 bytes a distinct word of a chunk, and no text.
    """

    def __init__(self, passages: Iterable[Passage], *, max_words: int) -> None:
        """Cut the passages into chunks and fit the model.

        Raises:
            FinetrailError: there is no passage with a word in it.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._spans = array("i")  # start and end of each chunk
        self._chunks_of: dict[str, range] = {}
        self._model: Any = TfidfVectorizer(analyzer=words, sublinear_tf=True)
        try:
            self._matrix = self._model.fit_transform(self._texts(passages, max_words)).tocsr()
        except ValueError as error:
            raise FinetrailError(f"the {len(self._chunks_of)} passages hold no word to rank by") from error

    def _texts(self, passages: Iterable[Passage], max_words: int) -> Iterator[str]:
        for passage in passages:
            text = passage["text"]
            spans = chunk_spans(text, max_words)
            before = len(self._spans) // 2
            self._chunks_of[passage["id"]] = range(before, before + len(spans))
            for start, end in spans:
                self._spans.extend((start, end))
                yield f"{passage['title']} {text[start:end]}"

    def rank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[str]], *, keep: int, per_passage: int = 1
    ) -> Iterator[list[Chunk]]:
        """Rank; see `Ranker`."""
        import numpy as np

        vectors = self._model.transform(queries)
        dense = np.zeros(vectors.shape[1])
        for row, passage_ids in enumerate(candidates):
            start, end = vectors.indptr[row], vectors.indptr[row + 1]
            columns = vectors.indices[start:end]
            dense[columns] = vectors.data[start:end]
            yield self._best(passage_ids, dense, keep, per_passage)
            dense[columns] = 0

    def _best(
        self,
        passage_ids: Sequence[str],
        query: "np.ndarray[Any, np.dtype[np.float64]]",
        keep: int,
        per_passage: int,
    ) -> list[Chunk]:
        numbers = [(name, number) for name in passage_ids for number in self._numbers(name)]
        if not numbers:
            return []
        scores = (self._matrix[[number for _, number in numbers]] @ query).round(SCORE_DIGITS).tolist()
        scored = (
            Chunk(name, self._spans[2 * number], self._spans[2 * number + 1], score)
            for score, (name, number) in zip(scores, numbers, strict=True)
        )
        return best_chunks(scored, keep, per_passage)

    def _numbers(self, passage_id: str) -> range:
        try:
            return self._chunks_of[passage_id]
        except KeyError:
            raise FinetrailError("the candidate passage is not in the corpus", where=passage_id) from None


def best_chunks(scored: Iterable[Chunk], keep: int, per_passage: int) -> list[Chunk]:
    """Return the best `keep` chunks, at most `per_passage` of one passage; ties go by passage id, then by place."""
    kept: list[Chunk] = []
    taken: dict[str, int] = {}
    for chunk in sorted(scored, key=lambda chunk: (-chunk.score, chunk.passage_id, chunk.start)):
        if taken.get(chunk.passage_id, 0) < per_passage:
            taken[chunk.passage_id] = taken.get(chunk.passage_id, 0) + 1
            kept.append(chunk)
    return kept[:keep]


def chunk_rows(chunks: Iterable[Chunk]) -> list[Row]:
    """Render ranked chunks as the ``chunks`` of a row, with their ranks from 1."""
    return [
        {"passage_id": c.passage_id, "start": c.start, "end": c.end, "score": c.score, "rank": rank}
        for rank, c in enumerate(chunks, start=1)
    ]


def candidate_rows(
    hits: Iterable[tuple[str, float]], source: str, found_by: Mapping[str, list[Row]] | None = None
) -> list[Row]:
    """Render search hits as the ``candidates`` of a row, with their ranks from 1, and what found them."""
    origins = found_by or {}
    return [
        {"passage_id": name, "rank": rank, "score": score, "source": source}
        | ({"found_by": origins[name]} if name in origins else {})
        for rank, (name, score) in enumerate(hits, start=1)
    ]
