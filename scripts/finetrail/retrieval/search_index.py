"""What every index of passages shares: hits, the protocol of a search, and what of a passage is searched."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

Passage = Mapping[str, Any]
"""A passage row: ``{"id", "title", "text", "url"}``."""

_Item = TypeVar("_Item")


class Hit(NamedTuple):
    """A found passage and its rounded score (higher is better)."""

    passage_id: str
    score: float


class SearchIndex(Protocol):
    """Whatever finds passages for queries; `source` names it in the rows."""

    @property
    def source(self) -> str:
        """The name that candidates carry, such as ``bm25``."""

    def search(self, queries: Sequence[str], k: int) -> Iterator[list[Hit]]:
        """Yield at most `k` hits a query, in the order of the queries, best first, ties by passage id."""


def passage_text(passage: Passage) -> str:
    """Return what of a passage is searched: title and text."""
    return f"{passage['title']} {passage['text']}".strip()


def in_batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Cut a stream into lists of at most `size`."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch
