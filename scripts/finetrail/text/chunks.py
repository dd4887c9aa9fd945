"""Cut passages into chunks at sentence borders, each known by its span of characters."""

import re
from collections.abc import Iterator
from itertools import chain

from finetrail.text.graphemes import grapheme_start

Span = tuple[int, int]

LONGEST_WORD = 40
"""Characters after which an unbroken run counts as a further word, so that chunks stay bounded."""

_WORD = re.compile(rf"\S{{1,{LONGEST_WORD}}}")
# A sentence ends at a line break, at . ! ? before white space, or at the full stop of a script that has its own: Han
# and kana, Devanagari, Arabic, Urdu, Armenian, Ethiopic, Khmer, Burmese, Tibetan. What follows
# is looked at in code: a lookahead would try each character of a long run anew, in quadratic time.
_OWN_STOPS = "\u3002\uff01\uff1f\uff61\u0964\u0965\u061f\u06d4\u0589\u1362\u1367\u1368\u17d4\u17d5\u104b\u0f0d\u0f0e"
_BORDER = re.compile(
    rf"(?P<always>\n|[{_OWN_STOPS}]+[\u2019\u201d\u300d\u300f\uff09]*)|[.!?\u2026]+[\"')\]\u2019\u201d]*"
)


def chunk_spans(text: str, max_words: int) -> list[Span]:
    """Return the spans of the chunks of a text: ``text[start:end]`` is a chunk, without white space around.

    Sentences are packed while they fit into `max_words` words; a longer sentence is cut between words.
    The spans are in order, do not overlap, and leave out nothing but white space.

    Raises:
        ValueError: `max_words` is below 1.
    """
    if max_words < 1:
        raise ValueError(f"a chunk needs at least one word, found max_words={max_words}")
    chunks: list[Span] = []
    room = 0
    for start, end, count in _pieces(text, max_words):
        if chunks and count <= room:
            chunks[-1] = (chunks[-1][0], end)
            room -= count
        else:
            chunks.append((start, end))
            room = max_words - count
    return chunks


def _borders(text: str, start: int, end: int) -> Iterator[int]:
    return (m.end() for m in _BORDER.finditer(text, start, end) if m["always"] or text[m.end() : m.end() + 1].isspace())


def sentence_spans(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the spans of the sentences of a stretch of a text, without white space around."""
    for border in chain(_borders(text, start, end), [end]):
        stop = border
        while start < stop and text[start].isspace():
            start += 1
        while stop > start and text[stop - 1].isspace():
            stop -= 1
        if stop > start:
            yield start, stop
        start = max(start, border)


def _words(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the spans of words; a run that is cut for its length is cut between characters."""
    while match := _WORD.search(text, start, end):
        begin, start = match.span()
        if start - begin == LONGEST_WORD and start < end and not text[start].isspace():
            start = grapheme_start(text, start, begin)
        yield begin, start


def _pieces(text: str, max_words: int) -> Iterator[tuple[int, int, int]]:
    """Yield start, end and number of words of each sentence, long ones in several pieces."""
    found_borders = _borders(text, 0, len(text))
    begin = 0
    for border in chain(found_borders, [len(text)]):
        found = list(_words(text, begin, border))
        for first in range(0, len(found), max_words):
            part = found[first : first + max_words]
            yield part[0][0], part[-1][1], len(part)
        begin = border
