"""One form for every text: line feeds, composed characters, nothing invisible; what was changed is counted."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from finetrail.text.control import CONTROL

FIRST_JOINING = 0x0590  # below: scripts in which zero-width joiners mean nothing


def _joiner(match: re.Match[str]) -> str:
    """Keep a joiner beside a script or an emoji that needs it."""
    text, start, end = match.string, match.start(), match.end()
    around = text[max(0, start - 1) : start] + text[end : end + 1]
    return match[0] if any(ord(character) >= FIRST_JOINING for character in around) else ""


# Name of the change, what it looks for, and what stands there afterwards; in this order.
CHANGES: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    ("windows newlines", re.compile(r"\r\n"), "\n"),
    ("other newlines", re.compile("[\r\x0b\x85\u2028\u2029]"), "\n"),
    ("hyphens at line ends", re.compile("[\x02\ufffe]\n?"), ""),
    ("nul characters", re.compile("\x00"), ""),
    ("control characters", CONTROL, ""),
    ("soft hyphens", re.compile("\u00ad"), ""),
    ("zero-width characters", re.compile("[\u200b\u2060\ufeff\u180e]"), ""),
    ("joiners", re.compile("[\u200c\u200d]"), _joiner),
    ("direction marks", re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]"), ""),
    ("no-break spaces", re.compile("[\u00a0\u2007\u202f]"), " "),
    ("half surrogates", re.compile("[\ud800-\udfff]"), "\ufffd"),
)


def normalise(text: str, counts: Counter[str]) -> str:
    """Bring a text into the one form; what is changed is added to `counts`.

    Form feeds stay: they are page breaks, which the caller cuts at.
    """
    for name, pattern, replacement in CHANGES:
        changed = 0

        def replace(match: re.Match[str], given: str | Callable[[re.Match[str]], str] = replacement) -> str:
            nonlocal changed
            new = given if isinstance(given, str) else given(match)
            changed += new != match[0]
            return new

        text = pattern.sub(replace, text)
        if changed:
            counts[name] += changed
    composed = unicodedata.normalize("NFC", text)
    if composed != text:
        counts["characters composed (NFC)"] += len(text) - len(composed) or 1
    return composed
