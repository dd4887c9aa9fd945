"""Rankers of chunks by the recipe's settings, and what they compare the chunks with."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.retrieval.cross_encoder import scorer_of
from finetrail.retrieval.cross_ranker import CrossRanker
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.rerank import ChunkRanker, Ranker
from finetrail.rows.records import read_rows


def search_text(queries: Sequence[str]) -> str:
    """Return what the chunks are compared with: all queries of a question."""
    return " ".join(queries)


@contextlib.contextmanager
def open_ranker(settings: Mapping[str, Any], passages: Path) -> Iterator[tuple[Ranker, str | None]]:
    """Open what a recipe ranks chunks by.

    Args:
        settings: the section `rerank`.
        passages: passages.jsonl.

    Returns:
        the ranker, and the fingerprint of its model where it has one.
    """
    if settings["method"] == "tfidf":
        yield ChunkRanker(read_rows(passages), max_words=settings["chunk_words"]), None
        return
    scorer = scorer_of(settings["model"])
    with PassageFile(passages) as opened:
        yield CrossRanker(opened, scorer, max_words=settings["chunk_words"]), scorer.place.fingerprint
