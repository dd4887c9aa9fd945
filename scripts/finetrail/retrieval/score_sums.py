"""The scores of all passages for one query: the weights of its words, added in their order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetrail.retrieval.postings import Postings
from finetrail.retrieval.top_k import PICKED

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

FREQUENT = 5
"""A word that one passage in so many has is added to all passages at once: by then that is quicker than one by one."""
SPREAD_BYTES = 0.5
"""Most memory for the rows of frequent words, as a share of that of the weights."""


class ScoreSums:
    """Adds the weights of a shard's words. The order and precision are those of the library bm25s, so that both agree.

    Args:
        shard: where each word stands.
        weights: float32 [entries], of each word in each of its passages.
    """

    def __init__(self, shard: Postings, weights: "Floats") -> None:
        import numpy as np

        self._weights, self._passages = weights, np.asarray(shard.passages)
        self._starts = np.asarray(shard.starts).tolist()
        self._ends, self._one = np.zeros(2, dtype=np.int32), np.ones(1, dtype=np.float32)
        self._count = len(shard.ids)
        self._room = -(-self._count // PICKED) * PICKED
        sizes = np.diff(shard.starts)
        most = int(SPREAD_BYTES * len(weights) / max(1, self._count))
        frequent = np.flatnonzero(sizes * FREQUENT >= self._count)
        chosen = frequent[np.argsort(-sizes[frequent], kind="stable")][:most]
        self._spread: dict[int, Floats | None] = dict.fromkeys(chosen.tolist())

    def of(self, query: Sequence[int]) -> "Floats":
        """Return the scores, float32 [passages], of a query that is given by the places of its words.

        Zeros follow, up to the next multiple of `PICKED`.
        """
        import numpy as np
        from scipy.sparse._sparsetools import csc_matvec  # scipy's loop over a column: twice as fast as np.add.at

        scores = np.zeros(self._room, dtype=np.float32)
        for word in query:
            if word in self._spread:
                scores += self._row(word)
            else:
                part = slice(self._starts[word], self._starts[word + 1])
                self._ends[1] = part.stop - part.start
                csc_matvec(self._room, 1, self._ends, self._passages[part], self._weights[part], self._one, scores)
        return scores

    def _row(self, word: int) -> "Floats":
        """Return a frequent word's weight in every passage; it is made when it is first asked for."""
        import numpy as np

        row = self._spread[word]
        if row is None:
            part = slice(self._starts[word], self._starts[word + 1])
            row = np.zeros(self._room, dtype=np.float32)
            row[self._passages[part]] = self._weights[part]
            self._spread[word] = row
        return row
