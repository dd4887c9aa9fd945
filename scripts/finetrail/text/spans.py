"""Find a quotation in a text, whatever its white space; return where it stands."""

import re

LONGEST_QUOTE = 4000
MARKS = "\"'\u201c\u201d\u2018\u2019\u2026. "


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Return the span of a quotation in a text; None where it is not there.

    White space counts as one space; quotation marks, dots and spaces around it may be missing.
    """
    for wanted in (quote.strip(), quote.strip(MARKS)):
        words = wanted[:LONGEST_QUOTE].split()
        if words and (found := re.search(r"\s+".join(map(re.escape, words)), text)):
            return found.span()
    return None
