"""Where a text may be cut without tearing what a reader sees as one character (UAX #29, in the parts that matter)."""

import unicodedata

JOINER = "\u200d"
LONGEST = 64  # signs of one character; more is an attack, and is cut
MOST_FLAGS = 2000  # letters of flags in a row that are counted in pairs
VIRAMA = 9  # combining class of the sign that ties two consonants together


def grapheme_start(text: str, place: int, least: int) -> int:
    """Return the last place up to `place` that begins a character; `place` itself where there is none above `least`."""
    found = place
    while found > max(least, place - LONGEST) and found < len(text) and _goes_on(text, found):
        found -= 1
    return found if found > least and not (found < len(text) and _goes_on(text, found)) else place


def _goes_on(text: str, place: int) -> bool:
    """Tell whether a sign belongs to the one before it."""
    sign, before = text[place], text[place - 1]
    if sign < "\u0300":
        return sign == "\n" and before == "\r"
    if sign in (JOINER, "\u200c") or before == JOINER or unicodedata.category(sign).startswith("M"):
        return True
    if unicodedata.combining(before) == VIRAMA and sign.isalpha():
        return True
    if "\U0001f3fb" <= sign <= "\U0001f3ff":  # the colour of a skin
        return True
    if "\u1160" <= sign <= "\u11ff":  # vowels and ends of Korean syllables
        return "\u1100" <= before <= "\u11ff" or "\uac00" <= before <= "\ud7a3"
    return _is_flag(sign) and _is_flag(before) and _flags_before(text, place) % 2 == 1


def _is_flag(sign: str) -> bool:
    return "\U0001f1e6" <= sign <= "\U0001f1ff"


def _flags_before(text: str, place: int) -> int:
    count = 0
    while count < MOST_FLAGS and place - count > 0 and _is_flag(text[place - count - 1]):
        count += 1
    return count
