"""Find a quotation in a text, whatever its white space and typography; return where it stands."""

import re
import unicodedata

LONGEST_QUOTE = 4000
MARKS = "\"'\u201c\u201d\u2018\u2019\u2026. "
SINGLE = "\u2018\u2019\u201a\u201b\u2039\u203a\u2032`\u00b4\u02bc"
DOUBLE = "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\uff02"
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
LIGATURES = range(0xFB00, 0xFB07)
FULL_WIDTH = range(0xFF01, 0xFF5F)
UNSEEN = "\u00ad\u200b\u2060\ufeff"
# Signs that are typed otherwise than they are set. Nothing that carries meaning: a raised 2 is no 2, an accent stays.
TYPED = {
    **{chr(place): unicodedata.normalize("NFKC", chr(place)) for place in (*LIGATURES, *FULL_WIDTH)},
    **dict.fromkeys(SINGLE, "'"),
    **dict.fromkeys(DOUBLE, '"'),
    **dict.fromkeys(DASHES, "-"),
    **dict.fromkeys(UNSEEN, ""),
    "\u2026": "...",
}


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Return the span of a quotation in a text; None where it is not there.

    White space counts as one space; quotation marks, dots and spaces around it may be missing. Where it is not there
    to the letter, plain quotes, dashes, dots and letters stand for those that are set; the span is the text's.
    """
    quote = unicodedata.normalize("NFC", quote)
    wanted = [part[:LONGEST_QUOTE] for part in (quote.strip(), quote.strip(MARKS)) if part.split()]
    for part in wanted:
        if found := re.search(r"\s+".join(map(re.escape, part.split())), text):
            return found.span()
    folded, places = _folded(text)
    for part in wanted:
        typed = _folded(part)[0].strip()
        start = folded.find(typed) if typed.strip(MARKS + "-") else -1
        if start >= 0:
            return _trimmed(text, places[start], places[start + len(typed) - 1] + 1)
    return None


def _folded(text: str) -> tuple[str, list[int]]:
    """Return a text as it is typed, and for each of its signs the place where it stands in the text.

    White space is one space; a dash is one hyphen, with no space around it.
    """
    signs: list[str] = []
    places: list[int] = []
    for place, sign in enumerate(text):
        for typed in " " if sign.isspace() else TYPED.get(sign, sign):
            before = signs[-1] if signs else ""
            if typed == " " and before in (" ", "-"):
                continue
            if typed == "-":
                while signs and signs[-1] in (" ", "-"):
                    signs.pop()
                    places.pop()
            signs.append(typed)
            places.append(place)
    return "".join(signs), places


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
