"""The backends of recall by name: which indexes each searches, and how they are opened."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.retrieval.bi_encoder import encoder_of
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.postings import Corpus, open_postings
from finetrail.retrieval.search_index import SearchIndex
from finetrail.retrieval.tfidf import TfidfIndex
from finetrail.retrieval.vectors import VectorIndex

Folders = Mapping[str, Sequence[Path]]
"""``words`` and ``vectors`` → the folders of the shards of that index; ``encoder`` → that of one that was fetched."""


def _bm25(settings: Mapping[str, Any], folders: Folders, threads: int) -> SearchIndex:
    recall = settings["recall"]
    return BM25Index.open(folders["words"], k1=recall["k1"], b=recall["b"], threads=threads)


def _tfidf(settings: Mapping[str, Any], folders: Folders, threads: int) -> SearchIndex:
    return TfidfIndex(Corpus([open_postings(folder) for folder in folders["words"]]), threads=threads)


def _dense(settings: Mapping[str, Any], folders: Folders, threads: int) -> SearchIndex:
    return VectorIndex.open(folders["vectors"], encoder_of(settings["encoder"], folders["encoder"]))


_OPEN: dict[str, Callable[[Mapping[str, Any], Folders, int], SearchIndex]] = {
    "bm25": _bm25,
    "tfidf": _tfidf,
    "dense": _dense,
}


def members_of(settings: Mapping[str, Any]) -> list[str]:
    """Return the plain backends that a backend searches."""
    return list(settings["hybrid"]) if settings["backend"] == "hybrid" else [settings["backend"]]


def open_named(name: str, settings: Mapping[str, Any], folders: Folders, threads: int = 1) -> SearchIndex:
    """Open one plain backend.

    Args:
        name: `bm25`, `tfidf` or `dense`.
        settings: a recipe's; read are `recall` and, for `dense`, `encoder`.
        folders: the shards of each index.
        threads: threads that search; the results are the same.

    Raises:
        FinetrailError: an index or a model is missing or broken.
    """
    return _OPEN[name](settings, folders, threads)


def open_backend(settings: Mapping[str, Any], folders: Folders, threads: int = 1) -> list[SearchIndex]:
    """Open what a recipe's backend searches, as `open_named` does; of several the lists are fused."""
    return [open_named(name, settings, folders, threads) for name in members_of(settings["recall"])]
