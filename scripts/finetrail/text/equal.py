"""When two answers count as the same."""

import unicodedata

_QUOTES = " \"'`\u201c\u201d\u2018\u2019\u00ab\u00bb"
_STOPS = ".!?,;:\u2026"


def normalise(text: str) -> str:
    """Fold what makes no difference: case, white space, quotation marks around, punctuation at the end.

    Signs that carry meaning stay: ``-5``, ``$5`` and ``10\u00b2`` differ from ``5``, ``5`` and ``102``.
    """
    folded = unicodedata.normalize("NFC", text.casefold())
    return " ".join(folded.split()).lstrip(_QUOTES).rstrip(_QUOTES + _STOPS)
