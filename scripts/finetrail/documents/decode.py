"""Bytes to text: by a byte-order mark, by the pattern of UTF-16 and UTF-32, as UTF-8, by a declaration, by a guess."""

import codecs
import re
from typing import NamedTuple

from finetrail.documents.kinds import NotRead

# UTF-32's marks begin with those of UTF-16, so they are looked for first.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MOST_SIGNS = 0.05  # share of control characters, and of what cannot be decoded, that no text has
SAMPLE = 1 << 16
GUESSED_BYTES = 1 << 20
MOSTLY = 0.7  # share of zero bytes at a place of each unit that tells UTF-16 or UTF-32 of Latin text
SPARSE = 0.02  # share of bytes that may be wrong in a text that is UTF-8 nevertheless
REPLACEMENT = "\ufffd"
# NUL characters are left over of wide texts; terminals write backspaces and escapes.
SIGNS = re.compile("[\x01-\x07\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
# What browsers read instead of a declared encoding: the larger one that pages really have (WHATWG Encoding, 4.2).
LARGER = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "gb2312": "gb18030",
    "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs",
}  # fmt: skip
# Labels of the WHATWG Encoding standard (4.2) that Python lacks or takes for another encoding.
LABELS = {
    "x-user-defined": "cp1252", "x-sjis": "cp932", "windows-31j": "cp932", "ks_c_5601-1987": "cp949",
    "windows-949": "cp949", "x-gbk": "gb18030", "gb_2312-80": "gb18030", "iso-8859-8-i": "iso8859-8",
    "logical": "iso8859-8", "visual": "iso8859-8", "cn-big5": "big5hkscs", "x-x-big5": "big5hkscs",
    "x-mac-roman": "mac_roman", "x-mac-cyrillic": "mac_cyrillic", "x-mac-ukrainian": "mac_cyrillic",
    "unicode-1-1-utf-8": "utf-8", "x-unicode20utf8": "utf-8", "unicode11utf8": "utf-8", "unicode20utf8": "utf-8",
    "dos-874": "cp874", "x-euc-jp": "euc_jp", "x-cp1250": "cp1250", "x-cp1251": "cp1251", "x-cp1252": "cp1252",
    "x-cp1253": "cp1253", "x-cp1254": "cp1254", "x-cp1255": "cp1255", "x-cp1256": "cp1256", "x-cp1257": "cp1257",
    "x-cp1258": "cp1258", "csiso88596e": "iso8859-6", "csiso88596i": "iso8859-6",
}  # fmt: skip
# Labels of UTF-16. A page that could be read far enough to find one is not in it (HTML 13.2.3.2).
WIDE_LABELS = frozenset({
    "utf-16", "utf-16le", "utf-16be", "unicode", "csunicode", "unicodefeff", "unicodefffe", "ucs-2", "iso-10646-ucs-2",
    "utf16",
})  # fmt: skip
META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})|encoding=\"([\w.:-]{1,40})\"", re.I)
HEAD_BYTES = 2048
LATIN_PAGES = frozenset({"cp1250", "cp1254", "cp1257", "cp1258", "cp437", "cp775", "cp850", "cp852", "cp858"})
NEAR_CHAOS = 0.005
NEAR = 0.05  # of coherence


class Decoded(NamedTuple):
    """A text, the encoding that it had, how that was found, and what could not be decoded."""

    text: str
    encoding: str
    found_by: str
    replaced: int


def decode(raw: bytes, declared: str | None = None) -> Decoded:
    """Decode a text.

    Args:
        raw: the bytes of a file.
        declared: the encoding that the file itself names (HTML's meta element); tried when it is not UTF-8.
    """
    for mark, name in MARKS:
        if raw.startswith(mark):
            return _replacing(raw[len(mark) :], name, "byte-order mark")
    if unit := _wide(raw):
        return _replacing(raw, unit, "pattern of zero bytes")
    try:
        return Decoded(raw.decode("utf-8"), "utf-8", "valid UTF-8", 0)
    except UnicodeDecodeError:
        pass
    for name in _meant(declared):
        if (named := _strictly(raw, name)) is not None:
            return Decoded(named, name, "declaration", 0)
    lenient = raw.decode("utf-8", "replace")
    wrong = lenient.count(REPLACEMENT)
    right = sum(ord(character) > 127 for character in lenient) - wrong
    if right > wrong and wrong <= SPARSE * len(lenient):
        return Decoded(lenient, "utf-8", "mostly valid UTF-8", wrong)
    return _guessed(raw)


def page_charset(raw: bytes) -> str | None:
    """Return the encoding that a page declares in its head, as browsers take it; None where it declares none."""
    found = META_CHARSET.search(raw[:HEAD_BYTES])
    if found is None:
        return None
    label = (found[1] or found[2]).decode("ascii").lower()
    return "utf-8" if label in WIDE_LABELS else label


def readable(decoded: Decoded) -> Decoded:
    """Pass a text on.

    Raises:
        NotRead: so much of it is no character that it was never a text, or is in an encoding that cannot be told.
    """
    share = share_of_signs(decoded.text)
    if share > MOST_SIGNS:
        raise NotRead(f"binary, or in an unknown encoding: {share:.0%} of it are no characters of a text")
    return decoded


def _wide(raw: bytes) -> str | None:
    """Name UTF-16 or UTF-32 without a mark by where its zero bytes stand."""
    sample = raw[:SAMPLE]
    if len(sample) < 8:
        return None
    quarters = [sample[place::4].count(0) / (len(sample) / 4) for place in range(4)]
    if min(quarters[1:]) > MOSTLY:
        return "utf-32-le"
    if min(quarters[:3]) > MOSTLY:
        return "utf-32-be"
    even, odd = (quarters[0] + quarters[2]) / 2, (quarters[1] + quarters[3]) / 2
    if odd > MOSTLY and even < 1 - MOSTLY:
        return "utf-16-le"
    if even > MOSTLY and odd < 1 - MOSTLY:
        return "utf-16-be"
    return None


def share_of_signs(text: str) -> float:
    """Return the share of a text that are control characters or could not be decoded; NUL characters do not count."""
    found = len(SIGNS.findall(text)) - 1  # a single one may be the end of a cut file
    return max(0, found) / max(1, len(text) - text.count("\0"))


def _meant(declared: str | None) -> list[str]:
    """Return the encodings to try for a declared one, which may be none."""
    label = (declared or "").strip().lower()
    try:
        name = codecs.lookup(LABELS.get(label, label)).name
    except (LookupError, ValueError):
        return []
    return [LARGER[name], name] if name in LARGER else [name]


def _strictly(raw: bytes, name: str) -> str | None:
    try:
        return raw.decode(name)
    except (LookupError, UnicodeError, ValueError):
        return None


def _replacing(raw: bytes, name: str, found_by: str) -> Decoded:
    text = raw.decode(name, "replace")
    return Decoded(text, name, found_by, text.count(REPLACEMENT))


def _guessed(raw: bytes) -> Decoded:
    from charset_normalizer import from_bytes

    matches = from_bytes(raw[:GUESSED_BYTES])
    best = matches.best()
    if best is not None and best.encoding in LATIN_PAGES:
        # where the guess is as good as any other, the page that most old Western files have
        near = [m for m in matches if m.chaos <= best.chaos + NEAR_CHAOS and m.coherence >= best.coherence - NEAR]
        best = next((match for match in near if match.encoding == "cp1252"), best)
    if best is not None and (text := _strictly(raw, best.encoding)) is not None:
        return Decoded(text, best.encoding, "guess", 0)
    text = raw.decode("utf-8", "replace")
    return Decoded(text, "utf-8", "no encoding fits", text.count(REPLACEMENT))
