"""Cut a document into chunks at headings, code blocks and sentences; each knows its span of characters."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from finetrail.rows.records import Row
from finetrail.text.chunks import sentence_spans
from finetrail.text.graphemes import grapheme_start

FULL_ENOUGH = 0.5  # share of the size from which a heading begins a new chunk


class Measure(Protocol):
    """How long a span of one text is, and how far a length reaches."""

    def size(self, start: int, end: int) -> int:
        """Return the length of a span."""

    def reach(self, start: int, size: int) -> int:
        """Return the end of the longest span from `start` of at most `size`; at least one character."""


class Characters:
    """Lengths in characters."""

    def size(self, start: int, end: int) -> int:
        """Return the number of characters."""
        return end - start

    def reach(self, start: int, size: int) -> int:
        """Return the place `size` characters on."""
        return start + size


class Tokens:
    """Lengths in tokens of a tokenizer: those of the whole document that begin within a span.

    Args:
        starts: the first character of each token of the text, in order.
    """

    def __init__(self, starts: Sequence[int]) -> None:
        self._starts = starts

    def size(self, start: int, end: int) -> int:
        """Return the number of tokens that begin in the span."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def reach(self, start: int, size: int) -> int:
        """Return where the first token begins that is one too many."""
        number = bisect_left(self._starts, start) + size
        return max(start + 1, self._starts[number]) if number < len(self._starts) else max(start + 1, 1 << 62)


class Piece(NamedTuple):
    """What is not divided: a sentence, a code block or a heading, without white space around."""

    start: int
    end: int
    is_heading: bool
    is_code: bool


class Chunk(NamedTuple):
    """A span of a document: ``text[start:end]``."""

    start: int
    end: int


def chunk(document: Row, size: int, overlap: int, measure: Measure) -> list[Chunk]:
    """Cut a document into chunks.

    A chunk is never longer than `size`. It ends where the next piece does not fit, or before a heading once it is half
    full; a heading never ends one. A code block stays whole where it fits, and else is cut at lines, a sentence that
    does not fit between words. A chunk that does not begin at a heading repeats whole sentences of the one before, as
    many as fit into `overlap`. Nothing but white space is left out.

    Args:
        document: a row with ``text``, ``headings`` and ``code``.
        size: longest chunk, in what `measure` counts.
        overlap: most that a chunk repeats; less than half of `size`.
        measure: of this document's text.
    """
    pieces = list(_pieces(document, size, measure))
    chunks: list[Chunk] = []
    first = begin = 0  # the piece that the chunk begins with, and the first one that is new in it
    number = 0
    while number < len(pieces):
        piece = pieces[number]
        length = measure.size(pieces[first].start, pieces[number - 1].end) if number > begin else 0
        fits = measure.size(pieces[first].start, piece.end) <= size
        breaks = piece.is_heading and length >= FULL_ENOUGH * size
        if number == begin or (fits and not breaks):
            if not fits:  # what is repeated leaves no room
                first = begin
            number += 1
            continue
        last = number
        while last - 1 > begin and pieces[last - 1].is_heading:
            last -= 1  # a heading goes with what it stands over
        chunks.append(Chunk(pieces[first].start, pieces[last - 1].end))
        begin = first = number = last
        if not pieces[last].is_heading:
            first = _repeated(pieces, last, overlap, measure)
    if pieces:
        chunks.append(Chunk(pieces[first].start, pieces[-1].end))
    return chunks


def _repeated(pieces: Sequence[Piece], begin: int, overlap: int, measure: Measure) -> int:
    """Return the first of the sentences before a piece that fit into the overlap together."""
    first = begin
    while first > 0:
        before = pieces[first - 1]
        if before.is_heading or before.is_code or measure.size(before.start, pieces[begin].start) > overlap:
            break
        first -= 1
    return first


def _pieces(document: Row, size: int, measure: Measure) -> Iterator[Piece]:
    """Yield the pieces of a document in order, none longer than `size`."""
    text: str = document["text"]
    marks = [(start, end, True) for start, end, *_ in document["headings"]]
    marks += [(start, end, False) for start, end in document["code"]]
    place = 0
    for start, end, is_heading in [*sorted(marks), (len(text), len(text), False)]:
        for span in sentence_spans(text, place, max(place, start)):
            yield from _fitting(text, span, size, measure, " \n\t", is_heading=False, is_code=False)
        for span in _trimmed(text, max(place, start), end):
            within = "\n" if not is_heading else " \n"
            yield from _fitting(text, span, size, measure, within, is_heading=is_heading, is_code=not is_heading)
        place = max(place, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and text[start].isspace() and text[start] == "\n":
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if end > start:
        yield start, end


def _fitting(
    text: str,
    span: tuple[int, int],
    size: int,
    measure: Measure,
    borders: str,
    *,
    is_heading: bool,
    is_code: bool,
) -> Iterator[Piece]:
    """Cut a span that is too long at the last border that fits; where there is none, anywhere."""
    start, end = span
    while measure.size(start, end) > size:
        reach = min(measure.reach(start, size), end)
        cut = max((text.rfind(border, start + 1, reach + 1) for border in borders), default=-1)
        cut = cut if cut > start else _word_end(text, start, reach)
        cut = grapheme_start(text, cut, start)
        yield from (Piece(*part, is_heading, is_code) for part in _trimmed(text, start, cut))
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if end > start:
        yield Piece(start, end, is_heading, is_code)


def _word_end(text: str, start: int, reach: int) -> int:
    cut = text.rfind(" ", start + 1, reach + 1)
    return cut if cut > start else reach


def token_starts(encode: Callable[[str], Sequence[tuple[int, int]]], text: str) -> list[int]:
    """Return the first character of each token, in order.

    Args:
        encode: gives the offsets of the tokens of a text.
        text: what is encoded.
    """
    return sorted(start for start, end in encode(text) if end > start)


def headings_over(document: Row, chunk: Chunk) -> list[str]:
    """Return the titles that stand over a chunk, the outermost first; one that it begins with is among them."""
    path: list[tuple[int, str]] = []
    for start, _, level, title in document["headings"]:
        if start > chunk.start:
            break
        path = [entry for entry in path if entry[0] < level] + [(level, title)]
    return [title for _, title in path]


def page_of(document: Row, chunk: Chunk) -> int | None:
    """Return the number of the page that a chunk begins on; None where there are no pages."""
    found: int | None = None
    for start, _, number in document["pages"]:
        if start > chunk.start:
            break
        found = number
    return found
