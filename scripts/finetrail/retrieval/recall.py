"""Search a recipe's indexes with several queries a question, and fuse what they find."""

from collections.abc import Iterator, Sequence

from finetrail.retrieval.fusion import found_by, fuse
from finetrail.retrieval.rerank import candidate_rows
from finetrail.retrieval.search_index import Hit, SearchIndex
from finetrail.rows.records import Row


def recall(queries: Sequence[Sequence[str]], indexes: Sequence[SearchIndex], top_k: int) -> Iterator[list[Row]]:
    """Yield the candidates of each question, best first; each says which query found it, and at which rank.

    Args:
        queries: those of each question.
        indexes: what is searched; lists are fused by reciprocal rank.
        top_k: candidates of a question.
    """
    found = [list(index.search([text for texts in queries for text in texts], top_k)) for index in indexes]
    start = 0
    for texts in queries:
        end = start + len(texts)
        yield _candidates([lists[start:end] for lists in found], indexes, top_k)
        start = end


def _candidates(found: Sequence[Sequence[Sequence[Hit]]], indexes: Sequence[SearchIndex], top_k: int) -> list[Row]:
    """Fuse the lists of all queries and indexes of one question."""
    lists = [hits for of_index in found for hits in of_index]
    origins: list[Row] = [
        {"query": place} | ({"source": index.source} if len(indexes) > 1 else {})
        for index, of_index in zip(indexes, found, strict=True)
        for place in range(len(of_index))
    ]
    source = "+".join([*(index.source for index in indexes), *(["rrf"] if len(lists) > 1 else [])])
    return candidate_rows(fuse(lists, top_k), source, found_by(lists, origins))
