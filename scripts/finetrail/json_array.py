"""Read the objects of a JSON file that is one list, as published data sets are, without holding the list."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from finetrail.problems import Problems, lines
from finetrail.records import Line, reject_constant, reject_duplicates

PIECE = 1 << 20
LOOK = 1 << 16
_DECODER = json.JSONDecoder(object_pairs_hook=reject_duplicates, parse_constant=reject_constant)


def read_objects(path: Path, problems: Problems) -> Iterator[Line]:
    """Stream the objects of a JSON list or of a JSON Lines file, with the line that each begins on.

    Memory holds the largest object, and a piece of the file. What cannot be read goes to `problems`; behind a fault in
    a list nothing can be read.
    """
    try:
        with path.open("rb") as stream:
            listed = stream.read(LOOK).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except OSError as error:
        problems.add(str(path), f"cannot be read: {error.strerror}")
        return
    if not listed:
        yield from lines(path, problems)
        return
    try:
        with path.open(encoding="utf-8-sig") as text:
            yield from _listed(_Text(text), path, problems)
    except UnicodeDecodeError as error:
        problems.add(str(path), f"invalid UTF-8: {error.reason}")


class _Text:
    """A text that is read in pieces; `rest` is what was read and not yet taken."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.rest = ""
        self.line = 1

    def more(self, size: int = PIECE) -> bool:
        """Read a further piece; False at the end."""
        piece = self._stream.read(size)
        self.rest += piece
        return bool(piece)

    def take(self, count: int) -> str:
        """Take so many characters."""
        taken, self.rest = self.rest[:count], self.rest[count:]
        self.line += taken.count("\n")
        return taken

    def sign(self) -> str:
        """Take the next character that is no white space; empty at the end."""
        while True:
            blank = len(self.rest) - len(self.rest.lstrip())
            self.take(blank)
            if self.rest or not self.more():
                return self.take(1)


def _listed(text: _Text, path: Path, problems: Problems) -> Iterator[Line]:
    text.sign()
    expected, seen = "a value", False
    while True:
        sign = text.sign()
        if sign == "]":
            break
        if sign == "," and expected == "a comma":
            expected = "a value"
            continue
        if not sign or expected == "a comma":
            cause = "the list is cut off" if not sign else f"expected a comma between two values, found {sign!r}"
            problems.add(f"{path}:{text.line}", cause)
            return
        number = text.line
        text.rest = sign + text.rest
        value = _value(text, path, problems)
        if value is None:
            return
        seen, expected = True, "a comma"
        if isinstance(value[0], dict):
            yield Line(number, value[0])
        else:
            problems.add(f"{path}:{number}", f"expected a JSON object, found {type(value[0]).__name__}")
    if trailing := text.sign():
        problems.add(f"{path}:{text.line}", f"{trailing!r} follows the list")
    if not seen:
        problems.add(str(path), "the list is empty")


def _value(text: _Text, path: Path, problems: Problems) -> tuple[object] | None:
    """Take the next value; None where it cannot be read. An unfinished one asks for twice as much text each time."""
    size = PIECE
    while True:
        try:
            value, end = _DECODER.raw_decode(text.rest)
        except (ValueError, RecursionError) as error:
            if text.more(size):
                size *= 2
                continue
            place = text.line + text.rest.count("\n", 0, getattr(error, "pos", 0))
            problems.add(f"{path}:{place}", f"not valid JSON: {getattr(error, 'msg', error)}")
            return None
        if end < len(text.rest) or not text.more(size):  # a number at the end of a piece may go on
            text.take(end)
            return (value,)
