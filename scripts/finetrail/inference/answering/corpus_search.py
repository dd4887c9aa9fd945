"""Search a recipe's corpus and rank the chunks of what is found, as `recall_passages` and `rerank_passages` do."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from finetrail.retrieval.backends import Folders, open_backend
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.rankers import open_ranker, search_text
from finetrail.retrieval.recall import recall
from finetrail.retrieval.rerank import chunk_rows
from finetrail.rows.records import Row


class Searcher:
    """The loaded indexes, ranker and passages.

    Args:
        passages: passages.jsonl.
        folders: the shards of each index.
        settings: a recipe's result keys: ``recall``, ``encoder``, ``rerank``.

    Attributes:
        passages: by id.
    """

    def __init__(self, passages: Path, folders: Folders, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._indexes = open_backend(settings, folders)
        self._opened = ExitStack()
        self.passages = self._opened.enter_context(PassageFile(passages))
        self._ranker, _ = self._opened.enter_context(open_ranker(settings["rerank"], passages))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def find(self, queries: Sequence[Sequence[str]]) -> list[list[Row]]:
        """Return the best chunks of each question, best first, for its queries."""
        rerank = self._settings["rerank"]
        found = recall(queries, self._indexes, self._settings["recall"]["top_k"])
        names = [[one["passage_id"] for one in candidates[: rerank["keep_passages"]]] for candidates in found]
        texts = [search_text(texts) for texts in queries]
        return [chunk_rows(chunks) for chunks in self._ranker.rank(texts, names, keep=rerank["keep_chunks"])]
