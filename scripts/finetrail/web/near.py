"""Near-identical texts of one short list, by the Jaccard similarity of their word shingles (Broder 1997)."""

from collections.abc import Sequence

from finetrail.retrieval.search_index import words
from finetrail.rows.records import sha256_text

SHINGLE_WORDS = 5
MOST_SHINGLES = 4000


def shingles(text: str) -> frozenset[str]:
    """Return the shingles of a text's words; of a long text those with the smallest hashes, which sample it fairly."""
    found = words(text)
    runs = {" ".join(found[i : i + SHINGLE_WORDS]) for i in range(max(1, len(found) - SHINGLE_WORDS + 1))}
    if len(runs) > MOST_SHINGLES:
        runs = set(sorted(runs, key=sha256_text)[:MOST_SHINGLES])
    return frozenset(runs)


def merge_near(texts: Sequence[str], threshold: float) -> list[int]:
    """Return for each text the place of the first kept one that it is near-identical to; its own if there is none.

    Args:
        texts: the texts, best first; each pair of kept ones is compared, so the list must be short.
        threshold: least Jaccard similarity of near-identical texts, above 0 and at most 1.
    """
    kept: list[tuple[int, frozenset[str]]] = []
    place_of: list[int] = []
    for place, text in enumerate(texts):
        mine = shingles(text)
        first = next((other for other, theirs in kept if _similarity(mine, theirs) >= threshold), place)
        place_of.append(first)
        if first == place:
            kept.append((place, mine))
    return place_of


def _similarity(left: frozenset[str], right: frozenset[str]) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)
