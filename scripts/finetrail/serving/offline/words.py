"""Words and sentences as the offline teacher sees them: content words, lightly stemmed."""

import re

WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])|\n+")
SUFFIXES = (("ies", "y"), ("ing", ""), ("edly", ""), ("ed", ""), ("ly", ""), ("es", ""), ("s", ""), ("e", ""))
SHORTEST_STEM = 3
STOP_WORDS = frozenset(
    """
    a about after again all also am an and any are as at be because been before being both but by can
    could did do does doing don down during each else etc every few for from further get give had has
    have having he her here hers him his how i if in into is it its itself just know let like may me
    might more most must my no nor not now of off on once only or other our out over own please same
    shall she should so some such tell than that the their theirs them then there these they this those
    through to too under until up us very was we were what when where which while who whom whose why
    will with would yes you your yours
    """.split()  # noqa: SIM905 (a list of quoted words is harder to read)
)
PRONOUNS = frozenset(
    "he her hers him his it its one ones she that their theirs them these they this those there such".split()  # noqa: SIM905
)


def tokens(text: str) -> list[str]:
    """Split a text into its words, in lower case, without possessive endings."""
    return [re.sub(r"['\u2019](s|t|re|ve|ll|d|m)?$", "", word.casefold()) for word in WORD.findall(text)]


def stem(word: str) -> str:
    """Cut the commonest English endings, so that ``claims`` and ``claimed`` meet."""
    for suffix, replacement in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST_STEM and not word.endswith("ss"):
            return word[: -len(suffix)] + replacement
    return word


def content_words(text: str) -> list[str]:
    """Return the words that carry meaning, each once, in their order, unstemmed."""
    return list(dict.fromkeys(word for word in tokens(text) if word not in STOP_WORDS and word))


def stems(text: str) -> frozenset[str]:
    """Return the stems of a text's content words."""
    return frozenset(stem(word) for word in content_words(text))


def coverage(wanted: frozenset[str], present: frozenset[str]) -> float:
    """Return the share of the wanted stems that are present; 0 where none is wanted."""
    return len(wanted & present) / len(wanted) if wanted else 0.0


def sentences(text: str) -> list[str]:
    """Split a text into sentences, each on one line."""
    pieces = (" ".join(piece.split()) for piece in SENTENCE_END.split(text))
    return [piece for piece in pieces if piece]
