"""Near-duplicates among a stream of texts: MinHash and LSH propose, the exact Jaccard similarity decides.

Signatures and their index are rensa's (Fast Similarity Sketching, https://arxiv.org/abs/1704.04370). They only save
comparisons: two texts are called alike after their whole sets of shingles were compared.
"""

import hashlib
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from finetrail.overlap.shingles import batches, jaccard, shingles, tokens

SLOTS = 128
LEAST_RECALL = 0.995
BATCH = 1000
REMEMBERED = 20_000
SEED = 1


class Match(NamedTuple):
    """An earlier text that a text is like: its place in the stream and the exact similarity."""

    place: int
    similarity: float


def band_shape(threshold: float) -> tuple[int, int]:
    """Return bands and rows a band, with the fewest false candidates at which pairs are still found.

    A pair of similarity s shares one of b bands of r rows with probability 1 - (1 - sʳ)ᵇ (Leskovec, Rajaraman, Ullman,
    *Mining of Massive Datasets*, 3.4); at the threshold it must reach `LEAST_RECALL`.
    """
    shapes = ((SLOTS // rows, rows) for rows in range(SLOTS, 0, -1))
    return next((b, r) for b, r in shapes if r == 1 or 1 - (1 - threshold**r) ** b >= LEAST_RECALL)


class NearTexts:
    """Texts in the order in which they come; each is asked which earlier ones it may be like.

    The texts lie in a temporary file; memory holds their signatures' bands (about 2 KB a text at threshold 0.8).

    Args:
        threshold: least Jaccard similarity, above 0 and at most 1.
        size: words of a shingle.
    """

    def __init__(self, threshold: float, size: int) -> None:
        from rensa import RMinHashLSH

        bands, rows = band_shape(threshold)
        self.threshold = threshold
        self._size = size
        self._slots = bands * rows
        self._index = RMinHashLSH(threshold=threshold, num_perm=self._slots, num_bands=bands)
        self._first: dict[bytes, int] = {}
        self._texts = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this object)
        self._ends = array("Q", [0])
        self._shingles_of = lru_cache(maxsize=REMEMBERED)(self._read_shingles)

    def candidates(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """Take texts in and yield, for each, the places of earlier ones that it may be like, in order.

        Of texts with equal tokens only the first is ever a candidate.
        """
        for batch in batches(texts, BATCH):
            yield from self._take(batch)

    def _take(self, batch: tuple[str, ...]) -> Iterator[list[int]]:
        from rensa import RMinHash

        start = len(self._ends) - 1
        sets: list[list[str]] = []
        fresh: list[int] = []
        for place, text in enumerate(batch, start):
            found = tokens(text)
            if self._first.setdefault(_digest(found), place) == place:
                fresh.append(place)
            sets.append(list(shingles(found, self._size)))
            self._keep(text)
        sketches = RMinHash.from_token_sets(sets, num_perm=self._slots, seed=SEED)
        self._index.insert_pairs([(place, sketches[place - start]) for place in fresh])
        for place, proposed in enumerate(self._index.query_all(sketches), start):
            yield sorted(other for other in proposed if other < place)

    def _keep(self, text: str) -> None:
        raw = text.encode("utf-8", "surrogatepass")
        self._texts.seek(self._ends[-1])
        self._texts.write(raw)
        self._ends.append(self._ends[-1] + len(raw))

    def text(self, place: int) -> str:
        """Return a text that was taken in."""
        self._texts.seek(self._ends[place])
        return self._texts.read(self._ends[place + 1] - self._ends[place]).decode("utf-8", "surrogatepass")

    def _read_shingles(self, place: int) -> set[str]:
        return shingles(tokens(self.text(place)), self._size)

    def similarity(self, left: int, right: int) -> float:
        """Return the exact Jaccard similarity of two texts that were taken in."""
        return jaccard(self._shingles_of(left), self._shingles_of(right))

    def match(self, left: int, right: int) -> Match | None:
        """Return the earlier text `right` with its similarity, if `left` is as like to it as the threshold asks."""
        similarity = self.similarity(left, right)
        return Match(right, similarity) if similarity >= self.threshold else None


def _digest(found: list[str]) -> bytes:
    return hashlib.blake2b("\0".join(found).encode("utf-8", "surrogatepass"), digest_size=16).digest()
