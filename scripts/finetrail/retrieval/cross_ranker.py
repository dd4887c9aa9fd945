"""Rerank candidate passages by their best chunk, each chunk read together with the query by a cross-encoder."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from finetrail.retrieval.cross_encoder import PairScorer
from finetrail.retrieval.rerank import Chunk, best_chunks
from finetrail.retrieval.search_index import Passage, in_batches
from finetrail.text.chunks import chunk_spans

BATCH = 64
"""Queries whose pairs are scored together: pairs of a like length then share a batch of the model."""


class ById(Protocol):
    """Passages by id; `finetrail.retrieval.passage_file.PassageFile`, or a dictionary."""

    def __getitem__(self, passage_id: str, /) -> Passage: ...


class CrossRanker:
    """A `finetrail.retrieval.rerank.Ranker`.

    Args:
        passages: the corpus.
        scorer: the model.
        max_words: longest chunk, in words; a chunk is read after its passage's title.
    """

    def __init__(self, passages: ById, scorer: PairScorer, *, max_words: int) -> None:
        self._passages = passages
        self._scorer = scorer
        self._max_words = max_words

    def rank(
        self, queries: Sequence[str], candidates: Sequence[Sequence[str]], *, keep: int, per_passage: int = 1
    ) -> Iterator[list[Chunk]]:
        """Rank; see `finetrail.retrieval.rerank.Ranker`."""
        for batch in in_batches(zip(queries, candidates, strict=True), BATCH):
            chunks = [[part for name in names for part in self._chunks(name)] for _, names in batch]
            pairs = [(query, text) for (query, _), found in zip(batch, chunks, strict=True) for _, text in found]
            scores = iter(self._scorer.scores(pairs))
            for found in chunks:
                yield best_chunks([chunk._replace(score=next(scores)) for chunk, _ in found], keep, per_passage)

    def _chunks(self, passage_id: str) -> list[tuple[Chunk, str]]:
        passage = self._passages[passage_id]
        spans = chunk_spans(passage["text"], self._max_words)
        return [
            (Chunk(passage_id, start, end, 0.0), f"{passage['title']} {passage['text'][start:end]}".strip())
            for start, end in spans
        ]
