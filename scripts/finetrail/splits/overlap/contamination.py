"""N-grams that a text shares with texts that it should not know: GPT-3's 13 and Tülu 3's 8 words.

A shared run of 13 words makes a row contaminated (Brown et al. 2020, appendix C); of a held-out text, the share of
words that lie in 8-grams of train is counted, and half of them make it contaminated (Lambert et al. 2024, section 3.2).
N-grams are compared by 64-bit hashes of word hashes; a run's words are compared too before a row is accused.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from finetrail.splits.overlap.shingles import FACTOR, batches, tokens

if TYPE_CHECKING:
    from numpy import int64, uint32, uint64
    from numpy.typing import NDArray

LONG, SHORT = 13, 8
COVERED = 0.5
BATCH = 2000
MOST_WORDS = 500_000


class Text(NamedTuple):
    """A text to compare, and what it is called in reports."""

    name: str
    text: str


class Hit(NamedTuple):
    """A row that shares a long run of words with a held-out text."""

    name: str
    other: str
    run: str


class _Words:
    """Hashes of words, remembered."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def hashes(self, found: Sequence[str]) -> list[int]:
        """Return a hash of 64 bits a word."""
        known = self._known
        if len(known) > MOST_WORDS:
            known.clear()
        return [known[word] if word in known else self._hash(word) for word in found]

    def _hash(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._known[word] = int.from_bytes(digest, "little")
        return self._known[word]


def grams(rows: Sequence[Sequence[int]], size: int) -> "tuple[NDArray[uint64], NDArray[uint64]]":
    """Return hashes of all n-grams of rows of word hashes, and where in the joined rows each begins."""
    import numpy as np

    flat = np.array([value for row in rows for value in row], dtype=np.uint64)
    count = len(flat) - size + 1
    if count <= 0:
        return flat[:0], flat[:0]
    row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    found = np.zeros(count, dtype=np.uint64)
    for shift in range(size):
        found = found * np.uint64(FACTOR) + flat[shift : shift + count]
    whole = np.flatnonzero(row_of[:count] == row_of[size - 1 :]).astype(np.uint64)
    return found[whole.astype(np.int64)], whole


class HeldOut:
    """What training must not have seen: the held-out texts of a fold and named benchmarks.

    Args:
        texts: they are gone through once, in batches; memory holds them, and 12 to 17 bytes an n-gram.
    """

    def __init__(self, texts: Iterable[Text]) -> None:
        import numpy as np

        self._words = _Words()
        self.names: list[str] = []
        self.short: Counter[int] = Counter()
        self._lengths: list[int] = []
        self._texts: list[str] = []
        pieces: dict[int, list[NDArray[uint64]]] = {LONG: [], SHORT: []}
        owners: list[NDArray[uint32]] = [np.zeros(0, np.uint32)]
        places: list[NDArray[uint64]] = [np.zeros(0, np.uint64)]
        for batch in batches(texts, BATCH):
            rows = [self._words.hashes(tokens(text.text)) for text in batch]
            start = sum(self._lengths)
            base = len(self.names)
            starts = np.cumsum([0, *map(len, rows)])
            self.names += [text.name for text in batch]
            self._texts += [text.text for text in batch]
            self._lengths += map(len, rows)
            for size, kept in pieces.items():
                found, at = grams(rows, size)
                kept.append(found)
                self.short[size] += sum(len(row) < size for row in rows)
                if size == LONG:
                    owners.append((np.searchsorted(starts, at, side="right") - 1 + base).astype(np.uint32))
                else:
                    places.append(at + np.uint64(start))
        self._long, order = _sorted(pieces[LONG])
        self._owner = np.concatenate(owners)[order]
        self._short, order = _sorted(pieces[SHORT])
        self._place = np.concatenate(places)[order]
        self._seen = np.zeros(len(self._short), dtype=bool)

    def hits(self, texts: Iterable[Text]) -> Iterator[Hit | None]:
        """Compare train texts and yield, for each, what it shares a long run with first; None for nothing."""
        for batch in batches(texts, BATCH):
            found = [tokens(text.text) for text in batch]
            rows = [self._words.hashes(row) for row in found]
            self._mark(rows)
            accused = self._accused(rows)
            for number, text in enumerate(batch):
                yield self._verified(text, found[number], accused.get(number, ()))

    def _mark(self, rows: Sequence[Sequence[int]]) -> None:
        """Remember which held-out 8-grams occur in train."""
        import numpy as np

        found = np.unique(grams(rows, SHORT)[0])
        first, last = np.searchsorted(self._short, found, "left"), np.searchsorted(self._short, found, "right")
        for start, end in zip(first[first < last], last[first < last], strict=True):
            self._seen[start:end] = True

    def _accused(self, rows: Sequence[Sequence[int]]) -> dict[int, list[int]]:
        """Return, by row, the held-out texts that a long n-gram of it hints at."""
        import numpy as np

        found, at = grams(rows, LONG)
        first, last = np.searchsorted(self._long, found, "left"), np.searchsorted(self._long, found, "right")
        starts = np.cumsum([0, *map(len, rows)])
        accused: dict[int, list[int]] = {}
        for hit in np.flatnonzero(first < last):
            number = int(np.searchsorted(starts, at[hit], side="right")) - 1
            accused.setdefault(number, []).append(int(self._owner[first[hit]]))
        return accused

    def _verified(self, text: Text, found: list[str], others: Iterable[int]) -> Hit | None:
        """Compare the words themselves, so that no hash accuses a row."""
        for other in dict.fromkeys(others):
            theirs = tokens(self._texts[other])
            runs = {tuple(theirs[i : i + LONG]) for i in range(len(theirs) - LONG + 1)}
            for start in range(len(found) - LONG + 1):
                if tuple(found[start : start + LONG]) in runs:
                    return Hit(text.name, self.names[other], " ".join(found[start : start + LONG]))
        return None

    def covered(self) -> Mapping[str, float]:
        """Return, by name, the share of a held-out text's words that lie in 8-grams of the train texts seen so far."""
        import numpy as np

        ends = np.cumsum([0, *self._lengths])
        covered = np.zeros(int(ends[-1]) + 1, dtype=np.int64)
        at = self._place[self._seen].astype(np.int64)
        np.add.at(covered, at, 1)
        np.add.at(covered, np.minimum(at + SHORT, ends[-1]), -1)
        inside = np.concatenate([[0], np.cumsum(np.cumsum(covered[:-1]) > 0)])
        counts = inside[ends[1:]] - inside[ends[:-1]]
        pairs = zip(self.names, counts, self._lengths, strict=True)
        return {name: round(int(count) / length, 6) for name, count, length in pairs if count}


def _sorted(pieces: "Sequence[NDArray[uint64]]") -> "tuple[NDArray[uint64], NDArray[int64]]":
    import numpy as np

    joined = np.concatenate([*pieces, np.zeros(0, np.uint64)])
    order = np.argsort(joined, kind="stable")
    return joined[order], order
