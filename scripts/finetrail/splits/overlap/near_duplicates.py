"""Near-duplicates among texts: MinHash and LSH propose, the exact Jaccard similarity decides.

Signatures are rensa's (Fast Similarity Sketching, https://arxiv.org/abs/1704.04370). They only save comparisons: two
texts are called alike after their whole sets of shingles were compared.
"""

import hashlib
import tempfile
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from finetrail.splits.overlap.shingles import FACTOR, batches, jaccard, shingles, tokens

if TYPE_CHECKING:
    from numpy import int64, uint32, uint64
    from numpy.typing import NDArray

SLOTS = 128
LEAST_RECALL = 0.995
BATCH = 1000
REMEMBERED = 2000
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


class Buckets:
    """Which texts share a bucket of some band; sorted arrays instead of hash tables, 8 bytes a text and band.

    Args:
        keys: (bands, texts) hashes of the texts' bands.
        members: the texts that may be proposed; each takes part in its buckets under its own place.
    """

    def __init__(self, keys: "NDArray[uint64]", members: "NDArray[int64]") -> None:
        import numpy as np

        found: list[NDArray[uint32]] = [np.zeros(0, np.uint32)]
        ends: list[NDArray[int64]] = [np.zeros(0, np.int64)]
        starts: list[NDArray[int64]] = [np.zeros(0, np.int64)]
        base = 0
        for band in keys:
            mine = band[members]
            order = np.argsort(mine, kind="stable")
            ordered = mine[order]
            new = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(order) else order
            sizes = np.diff([*new, len(order)])
            shared = np.repeat(sizes > 1, sizes)  # who is alone in a bucket is proposed to nobody
            kept = sizes[sizes > 1]
            first = base + np.cumsum(kept) - kept
            found.append(members[order[shared]].astype(np.uint32))
            starts.append(np.repeat(first, kept))
            ends.append(np.repeat(first + kept, kept))
            base += int(kept.sum())
        self._members = np.concatenate(found)
        self._starts, self._ends = np.concatenate(starts), np.concatenate(ends)
        self._entries = np.argsort(self._members, kind="stable").astype(np.int64)
        counts = np.bincount(self._members, minlength=keys.shape[1])
        self._first = np.concatenate([[0], np.cumsum(counts)])

    def earlier(self, member: int, place: int) -> list[int]:
        """Return the texts before a place that share a bucket with a member, in order."""
        found: set[int] = set()
        for entry in self._entries[self._first[member] : self._first[member + 1]]:
            bucket = self._members[self._starts[entry] : self._ends[entry]]
            found.update(bucket[: bucket.searchsorted(place)].tolist())
        return sorted(found)


class NearTexts:
    """Texts by their places; each is asked which earlier ones it may be like.

    The texts lie in a temporary file; memory holds hashes of their signatures' bands (about 0.4 KB a text at
    threshold 0.8).

    Args:
        texts: they are gone through once.
        threshold: least Jaccard similarity, above 0 and at most 1.
        size: words of a shingle.
        least: a text of fewer words is like no other (a heading, a line about the licence).
    """

    def __init__(self, texts: Iterable[str], threshold: float, size: int, least: int = 0) -> None:
        self.threshold = threshold
        self._size = size
        self._least = least
        self._texts = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this object)
        self._ends = array("Q", [0])
        self._shingles_of = lru_cache(maxsize=REMEMBERED)(self._read_shingles)
        self._take(texts)

    @classmethod
    def of(cls, texts: Iterable[str], settings: Mapping[str, Any]) -> "NearTexts":
        """Take texts in under the settings of a section `near_duplicates` or `duplicates`."""
        return cls(texts, settings["threshold"], settings["shingle_words"], settings["least_words"])

    def _take(self, texts: Iterable[str]) -> None:
        import numpy as np

        bands, rows = band_shape(self.threshold)
        digests: list[bytes] = []
        long: list[bool] = []
        keys: list[NDArray[uint64]] = [np.zeros((bands, 0), np.uint64)]
        for batch in batches(texts, BATCH):
            found = [tokens(text) for text in batch]
            digests.append(b"".join(map(_digest, found)))
            long += [len(row) >= self._least for row in found]
            keys.append(_band_keys([list(shingles(row, self._size)) for row in found], bands, rows))
            for text in batch:
                self._keep(text)
        self._first = _first_equals(np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2))
        self._long = np.array(long, dtype=bool)
        members = np.flatnonzero((self._first == np.arange(len(long))) & self._long).astype(np.int64)
        self._buckets = Buckets(np.concatenate(keys, axis=1), members)

    def earlier(self, place: int) -> list[int]:
        """Return the places of earlier texts that a text may be like, in order.

        Of texts with equal tokens only the first is ever proposed.
        """
        if not self._long[place]:
            return []
        first = int(self._first[place])
        found = self._buckets.earlier(first, place)
        return found if first == place else sorted({first, *found})

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


def _band_keys(sets: Sequence[list[str]], bands: int, rows: int) -> "NDArray[uint64]":
    """Return a hash of every band of the signatures: (bands, texts)."""
    import numpy as np
    from rensa import RMinHash

    signatures = np.array(RMinHash.digests_from_token_sets(sets, num_perm=bands * rows, seed=SEED), dtype=np.uint64)
    slots = signatures.reshape(len(sets), bands, rows)
    keys = np.zeros((len(sets), bands), dtype=np.uint64)
    for row in range(rows):
        keys = keys * np.uint64(FACTOR) + slots[:, :, row]
    return np.ascontiguousarray(keys.T)


def _first_equals(digests: "NDArray[uint64]") -> "NDArray[int64]":
    """Return for each of the digests, of two numbers each, the place of the first one that equals it."""
    import numpy as np

    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])[: len(order)]
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]  # the sort is stable: the first of equals comes first
    return first


def _digest(found: list[str]) -> bytes:
    return hashlib.blake2b("\0".join(found).encode("utf-8", "surrogatepass"), digest_size=16).digest()
