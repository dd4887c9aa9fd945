"""Read the objects of a JSON file that is one list, as published data sets are: one at a time, as strictly as lines.

The library ijson is not used: it takes half a surrogate pair for two question marks, and its memory grows with the
square of the depth of what it reads.
"""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from finetrail.rows.problems import Problems, half_surrogate, lines
from finetrail.rows.records import Row, finite_number, reject_duplicates

LOOK = 1 << 16
LONGEST_ENTRY = 1 << 26
BOM = b"\xef\xbb\xbf"
SPACE = " \t\r\n"


class Entry(NamedTuple):
    """One object of a file.

    Attributes:
        number: its line, or its place in the list, from 1: published lists stand on a single line.
        row: the object.
        where: what messages call its place.
    """

    number: int
    row: Row
    where: str


def read_objects(path: Path, problems: Problems) -> Iterator[Entry]:
    """Stream the objects of a JSON list or of a JSON Lines file; memory holds one of them.

    What cannot be read goes to `problems`; behind a fault in a list nothing can be read.
    """
    try:
        with path.open("rb") as stream:
            begin = stream.read(LOOK)
            if begin.removeprefix(BOM).lstrip().startswith(b"["):
                stream.seek(0)
                yield from listed_objects(_pieces(stream), path, problems)
                return
    except OSError as error:
        problems.add(str(path), f"cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        problems.add(str(path), "invalid UTF-8: convert the file, for example with iconv")
        return
    for line in lines(path, problems):
        yield Entry(line.number, line.row, f"{path}:{line.number}")


def _pieces(stream: IO[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    while piece := stream.read(LOOK):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def listed_objects(pieces: Iterator[str], path: Path, problems: Problems) -> Iterator[Entry]:
    """Stream the objects of one JSON list.

    Args:
        pieces: its text.
        path: what messages call it.
        problems: takes what is wrong with an object, or with the list.
    """
    number = 0
    reader = _ListReader(pieces)
    try:
        for number, value in enumerate(reader.values(), start=1):
            where = f"{path}: entry {number}"
            if reader.faults:
                problems.add(where, reader.faults[0])
            elif not isinstance(value, dict):
                problems.add(where, f"expected a JSON object, found {type(value).__name__}")
            elif "\\u" in reader.source() and (cause := half_surrogate(value)):
                problems.add(where, cause)
            else:
                yield Entry(number, value, where)
    except json.JSONDecodeError as error:
        cut = ": the list is cut off" if reader.is_at_end(error.pos) else ""
        problems.add(str(path), f"not valid JSON behind entry {number}: {error.msg}{cut}")
        return
    except RecursionError:
        problems.add(str(path), f"entry {number + 1} is nested too deeply to be read")
        return
    if not number:
        problems.add(str(path), "the list is empty")


class _ListReader:
    """Decodes the values of a list from a text that comes in pieces.

    Attributes:
        faults: what is wrong with the last value, although it is JSON to Python.
    """

    def __init__(self, pieces: Iterator[str]) -> None:
        self.faults: list[str] = []
        self._pieces = pieces
        self._text, self._place, self._begin, self._ended = "", 0, 0, False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_float=self._number
        )

    def is_at_end(self, place: int) -> bool:
        """Tell whether a place is where the text ends."""
        return self._ended and not self._text[place:].strip(SPACE)

    def source(self) -> str:
        """Return the last value as it stands in the text."""
        return self._text[self._begin : self._place]

    def values(self) -> Iterator[Any]:
        """Yield the values.

        Raises:
            json.JSONDecodeError: the text is no list.
            RecursionError: a value is nested too deeply.
        """
        self._expect("[")
        sign = self._next_sign()
        while sign != "]":
            yield self._value()
            sign = self._next_sign()
            if sign not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' delimiter", self._text, self._place)
            if sign == ",":
                self._place += 1
                if self._next_sign() == "]":
                    raise json.JSONDecodeError("Illegal trailing comma before end of array", self._text, self._place)
        self._place += 1
        if self._next_sign():
            raise json.JSONDecodeError("Extra data", self._text, self._place)

    def _object(self, pairs: list[tuple[str, Any]]) -> Row:
        try:
            return reject_duplicates(pairs)
        except ValueError as error:
            self.faults.append(str(error))
            return {}

    def _constant(self, name: str) -> None:
        self.faults.append(f"not valid JSON: {name} is not JSON")

    def _number(self, text: str) -> float:
        try:
            return finite_number(text)
        except ValueError as error:
            self.faults.append(f"not valid JSON: {error}")
            return 0.0

    def _value(self) -> Any:
        """Decode one value, reading on while it may only be unfinished: twice as much each time."""
        while True:
            self.faults.clear()
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if self._ended or len(self._text) - self._place > LONGEST_ENTRY:
                    raise
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._begin, self._place = self._place, end
                    return value
            self._text, self._place = self._text[self._place :], 0
            self._read_on(len(self._text))

    def _next_sign(self) -> str:
        """Go to the next sign that is no white space; empty at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in SPACE:
                self._place += 1
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._text, self._place = "", 0
            self._read_on(1)

    def _expect(self, sign: str) -> None:
        if self._next_sign() != sign:
            raise json.JSONDecodeError(f"Expecting {sign!r}", self._text, self._place)
        self._place += 1

    def _read_on(self, least: int) -> None:
        parts, length = [self._text], 0
        while length < least and not self._ended:
            piece = next(self._pieces, None)
            self._ended = piece is None
            parts.append(piece or "")
            length += len(piece or "")
        self._text = "".join(parts)
