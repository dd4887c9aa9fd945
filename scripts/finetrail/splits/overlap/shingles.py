"""Texts as sets of word runs, and how alike two of them are (Broder 1997)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import TypeVar

from finetrail.rows.records import sha256_text

Item = TypeVar("Item")

# What hashes of parts are multiplied with to join them; odd, so that it keeps all 64 bits (Knuth, TAOCP 2, 3.2.1.2).
FACTOR = 6364136223846793005

# What `merge_near` compares: runs of so many words, and so many runs of a text at most.
SHINGLE_WORDS = 5
MOST_SHINGLES = 4000

# Scripts that write no spaces are cut into single characters; a sign counts, so that "2+2" is not "2-2".
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


def tokens(text: str) -> list[str]:
    """Cut a text into lower-cased words and single signs."""
    return _TOKEN.findall(text.lower())


def shingles(found: Sequence[str], size: int) -> set[str]:
    """Return the runs of `size` tokens; a shorter text is one run, an empty one has none."""
    if not found:
        return set()
    return {" ".join(found[i : i + size]) for i in range(max(1, len(found) - size + 1))}


def sample(runs: AbstractSet[str], most: int) -> AbstractSet[str]:
    """Return the runs, of too many those with the smallest hashes, which sample them fairly."""
    return set(sorted(runs, key=sha256_text)[:most]) if len(runs) > most else runs


def jaccard(left: AbstractSet[str], right: AbstractSet[str]) -> float:
    """Return the shared part of two sets, in [0, 1]; two empty ones are equal."""
    shared = len(left & right)
    union = len(left) + len(right) - shared
    return shared / union if union else 1.0


def merge_near(texts: Iterable[Sequence[str]], threshold: float) -> list[int]:
    """Return for each text the place of the first kept one that it is near-identical to; its own if there is none.

    Args:
        texts: the words of each, best first; each pair of kept ones is compared, so the list must be short.
        threshold: least Jaccard similarity of near-identical texts, above 0 and at most 1.
    """
    kept: list[tuple[int, AbstractSet[str]]] = []
    place_of: list[int] = []
    for place, found in enumerate(texts):
        mine = sample(shingles(found, SHINGLE_WORDS), MOST_SHINGLES)
        first = next((other for other, theirs in kept if jaccard(mine, theirs) >= threshold), place)
        place_of.append(first)
        if first == place:
            kept.append((place, mine))
    return place_of


def batches(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Cut a stream into tuples of `size` items; the last one may be shorter."""
    stream = iter(items)
    while batch := tuple(islice(stream, size)):
        yield batch
