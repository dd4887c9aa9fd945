"""What a server says, before anybody sees it: without our key, without characters that steer a terminal."""

import base64
import re
import unicodedata
from functools import cache
from html.entities import html5
from typing import Any
from urllib.parse import quote, quote_plus

KEY_MARK = "<key>"
KEY_LIKE = re.compile(r"\b(sk|key|pk)-[\w*.-]{6,}")
LONGEST_MESSAGE = 400
# Shorter keys are stand-ins (`none`, `ollama`), which an answer may well contain.
SHORTEST_SECRET = 8
# Controls but tab and line ends, and halves of surrogate pairs.
UNCLEAN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
ENCODED = re.compile(r"[%\\&]")


def cut(text: str, most: int) -> str:
    """Cut a text, and show that it was cut."""
    return text if len(text) <= most else text[:most] + " ..."


class Cleaner:
    """Cleans what one server says.

    Args:
        key: the API key that the server knows, and may repeat in any usual encoding; empty for none.
    """

    def __init__(self, key: str = "") -> None:
        self._key = key
        self._forms = _forms(key) if key else ()
        # A run of backslashes is looked at from its beginning only: from each of them takes the square of the time.
        ways = [_written(key[0], r"(?<!\\)"), *map(_written, key[1:])] if key else []
        self._encoded = re.compile("".join(ways), re.I) if key else None

    def text(self, text: str) -> str:
        """Return a text as it is kept: controls taken out, half characters replaced, the key hidden."""
        text = _without_controls(text)
        return self._without_key(text) if len(self._key) >= SHORTEST_SECRET else text

    def value(self, value: Any) -> Any:
        """Return a value of JSON with all its texts cleaned, names of fields too.

        Raises:
            RecursionError: it is nested too deeply.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.value(item) for name, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, list) else value

    def message(self, said: object, most: int = LONGEST_MESSAGE) -> str:
        """Return a readable line of what a server said, without whatever is, or looks like, a key."""
        text = str(said)[: 20 * most]
        shown = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
        return cut(" ".join(KEY_LIKE.sub(KEY_MARK, self._without_key(shown)).split()), most)

    def _without_key(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, KEY_MARK)
        if self._encoded is not None and ENCODED.search(text):
            text = self._encoded.sub(KEY_MARK, text)
        return text


def _without_controls(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return UNCLEAN.sub(lambda found: "\N{REPLACEMENT CHARACTER}" if found[0] >= "\ud800" else "", text)


def _forms(key: str) -> tuple[str, ...]:
    """Return the key as it is, as URLs write it, in hexadecimal, and what base64 makes of it in any surroundings."""
    content = key.encode("utf-8", "surrogatepass")
    found = [key, quote(key, safe=""), quote(key), quote_plus(key), content.hex(), content.hex().upper()]
    for before in range(3):
        whole = base64.b64encode(bytes(before) + content).decode("ascii").rstrip("=")
        last = len(whole) - ((before + len(content)) % 3 != 0)  # the last character also depends on what follows
        core = whole[-(-before * 8 // 6) : last]
        found += [core, core.replace("+", "-").replace("/", "_")]
    return tuple(dict.fromkeys(form for form in found if form))


def _written(character: str, before_backslash: str = "") -> str:
    """Return a pattern of one character of the key, as it is or as URLs, JSON, other languages and HTML write it."""
    code = ord(character)
    percent = re.sub("%", "%(?:25)*", quote(character, safe="")) if quote(character, safe="") != character else ""
    ways = [
        re.escape(character),
        rf"{before_backslash}\\+(?:{re.escape(character)}|u{code:04x}|x{code:02x})",
        percent or f"%(?:25)*{code:02x}",
        f"&#0*{code};",
        f"&#x0*{code:x};",
        *_names(character),
    ]
    return f"(?:{'|'.join(ways)})"


@cache
def _names(character: str) -> list[str]:
    return sorted(f"&{re.escape(name)}" for name, value in html5.items() if value == character)
