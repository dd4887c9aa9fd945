"""The words of a text, as BM25 and TF-IDF count them, in every script.

A word is a run of letters, digits and underscores, in lower case. Marks (vowel signs, accents that stand for
themselves) belong to their letter. Scripts that write no spaces between words become pairs of neighbouring characters,
as search engines index them. A text that is mostly Latin is cut as ``\\w+`` cuts it, to the byte, whatever names it
holds: an English collection ranks as it always did.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

_WORD = re.compile(r"\w+")
# Nothing but Latin letters, their punctuation, and signs: nearly every English text.
_ELSEWHERE = re.compile("[^\x00-\u012f\u0131-\u02ff\u2000-\u20cf\u2100-\u22ff]")
_LATIN = re.compile("[a-zA-Z\u00aa-\u024f\u1e00-\u1eff]")
_ACCENT = re.compile("[\u0300-\u036f]")
# Letters of scripts without spaces: Han, kana, Thai, Lao, Khmer and Burmese; their digits are words like others.
UNSPACED = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
    "\u0e01-\u0e2f\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf"
    "\u1780-\u17b3\u17d7\u17dc\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081"
    "\u108e\ua9e0-\ua9e4\ua9e6-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa76\uaa7a\uaa7e\uaa7f"
)
DOTTED_I = "\u0130"  # lower() would make a letter and a mark of it
_HALF_OR_FULL = re.compile("[\uff00-\uffef]+")
LAST_MARK = 0x20000  # but for those of _DRAWN
_JOINER = re.compile("\u200d")
# Signs that only choose how a sign before them is drawn: emoji, keycaps.
_DRAWN = "\ufe00-\ufe0f\u20d0-\u20f0\U000e0100-\U000e01ef"


def words(text: str) -> list[str]:
    """Cut a text into its words."""
    if _is_plain(text):
        return _WORD.findall(text.lower())
    if _is_latin(text):
        return _WORD.findall(_composed(text).lower())
    return list(_careful_words(text))


def asked_words(query: str) -> list[str]:
    """Cut a query into words: as a text of its script is cut, and where it has words of others, as theirs are, too.

    So a Japanese name is found in English texts, which hold it as one word, and in Japanese ones.
    """
    found = words(query)
    if _is_plain(query):
        return found
    otherwise = _careful_words(query) if _is_latin(query) else _WORD.findall(_composed(query).lower())
    return found + [word for word in dict.fromkeys(otherwise) if word not in found]


def _is_plain(text: str) -> bool:
    return text.isascii() or not _ELSEWHERE.search(text) or not _needs_care().search(text)


def _is_latin(text: str) -> bool:
    """Tell whether most letters of a text are Latin ones."""
    letters = sum(map(str.isalpha, text))
    return 2 * len(_LATIN.findall(text)) > letters


def _composed(text: str) -> str:
    """Make one character of a letter and its accent where there is one."""
    return (unicodedata.normalize("NFC", text) if _ACCENT.search(text) else text).replace(DOTTED_I, "i")


@cache
def _marks() -> str:
    """Return the marks of all scripts as the inside of a character class."""
    found: list[int] = []
    for place in range(0x300, LAST_MARK):
        if unicodedata.category(chr(place)).startswith("M") and not re.match(f"[{_DRAWN}]", chr(place)):
            found.append(place)
    runs: list[list[int]] = []
    for place in found:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in runs)


@cache
def _needs_care() -> re.Pattern[str]:
    return re.compile(f"[{DOTTED_I}{_marks()}{UNSPACED}]")


@cache
def _careful() -> re.Pattern[str]:
    """Match a run of a script without spaces, or a word with its marks."""
    other = f"[^\\W{UNSPACED}]"
    return re.compile(f"(?P<unspaced>[{UNSPACED}][{UNSPACED}{_marks()}]*)|{other}(?:{other}|[{_marks()}])*")


@cache
def _mark() -> re.Pattern[str]:
    return re.compile(f"[{_marks()}]")


@cache
def _character() -> re.Pattern[str]:
    return re.compile(f".[{_marks()}]*", re.DOTALL)


def _careful_words(text: str) -> Iterator[str]:
    """Yield the words of a text that has marks, or letters of scripts without spaces."""
    text = _HALF_OR_FULL.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = _JOINER.sub("", unicodedata.normalize("NFC", text).replace(DOTTED_I, "i")).lower()
    for found in _careful().finditer(text):
        if found["unspaced"] is None:
            yield found[0]
            continue
        run = found[0]
        characters = _character().findall(run) if _mark().search(run) else list(run)
        yield from map("".join, pairwise(characters)) if len(characters) > 1 else characters
