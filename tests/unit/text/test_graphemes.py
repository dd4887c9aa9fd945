"""Chunks begin where a reader sees a character begin, and sentences end where their script ends them."""

import pytest

from finetrail.documents.chunking import Characters, chunk
from finetrail.text.chunks import LONGEST_WORD, chunk_spans
from finetrail.text.graphemes import grapheme_start

CHARACTERS = [
    "e\u0301",
    "\u0915\u094d\u0937\u093f",
    "\u0e17\u0e48",
    "\U0001f469\u200d\U0001f4bb",
    "\U0001f1eb\U0001f1f7",
]
CHARACTERS += ["\U0001f44d\U0001f3fd", "\u1112\u1161\u11ab", "1\ufe0f\u20e3"]


@pytest.mark.parametrize("character", CHARACTERS)
@pytest.mark.parametrize("size", [1, 7, 10, 23])
def test_no_chunk_begins_inside_a_character(character: str, size: int) -> None:
    text = character * 60
    borders = {place * len(character) for place in range(61)}
    document = {"text": text, "headings": [], "code": []}
    spans = [tuple(span) for span in chunk(document, max(size, len(character)), 0, Characters())]
    assert {place for span in spans for place in span} <= borders
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    words = chunk_spans(text, size)
    assert {place for span in words for place in span} <= borders
    assert max(end - start for start, end in words) <= size * LONGEST_WORD


def test_a_character_that_never_ends_is_cut_nevertheless() -> None:
    text = "a" + "\u0301" * 500
    assert all(start < end for start, end in chunk_spans(text, 2))
    assert grapheme_start(text, 300, 0) == 300
    document = {"text": text, "headings": [], "code": []}
    assert "".join(text[start:end] for start, end in chunk(document, 40, 0, Characters())) == text


@pytest.mark.parametrize(
    "stop", ["\u0964", "\u0965", "\u061f", "\u06d4", "\u0589", "\u1362", "\u17d4", "\u104b", "\uff61", "\u3002"]
)
def test_a_sentence_ends_at_the_full_stop_of_its_script(stop: str) -> None:
    text = f"\u0915 \u0916{stop}\u0917 \u0918{stop}"
    assert [text[start:end] for start, end in chunk_spans(text, 2)] == [text[:4], text[4:]]
