"""Chunks: their spans are exact, none is too long, nothing is lost, and borders are where they should be."""

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrail.documents.chunking import Characters, Measure, Tokens, chunk, headings_over, page_of, token_starts
from finetrail.documents.structure import outline

WORDS = st.sampled_from(
    ["word", "longer-word", "x" * 70, "e.g.", "End.", "So?", "\n", "\n\n", "# Head\n", "```\nco de\n```\n"]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=80).map(" ".join)


def document(text: str, markup: str = "md") -> dict[str, Any]:
    found = outline(text, markup)
    return {
        "text": text,
        "headings": [list(h) for h in found.headings],
        "code": [list(c) for c in found.code],
        "pages": [],
    }


def tokens(text: str) -> Measure:
    return Tokens(token_starts(lambda given: [match.span() for match in re.finditer(r"\w{1,4}|\S", given)], text))


@pytest.mark.parametrize("measure", [lambda text: Characters(), tokens], ids=["characters", "tokens"])
@given(text=TEXTS, size=st.integers(9, 90), share=st.floats(0, 0.49))
@settings(max_examples=150, deadline=None)
def test_nothing_but_white_space_is_left_out_and_no_chunk_is_too_long(
    measure: Any, text: str, size: int, share: float
) -> None:
    length = measure(text)
    overlap = int(size * share)
    chunks = chunk(document(text), size, overlap, length)
    covered = {place for found in chunks for place in range(*found)}
    assert all(text[place].isspace() for place in range(len(text)) if place not in covered)
    assert all(0 < length.size(*found) <= size for found in chunks)
    assert all(text[found.start : found.end].strip() for found in chunks)
    for before, after in pairwise(chunks):
        assert before.end < after.end
        assert before.start < after.start
        assert after.start >= before.end or length.size(after.start, before.end) <= overlap


def test_headings_begin_chunks_and_never_end_them() -> None:
    text = "# A\n" + "One two three. " * 6 + "\n\n# B\n" + "Four five six. " * 6 + "\n"
    given_document = document(text)
    chunks = chunk(given_document, 130, 0, Characters())
    assert [text[start:end][:3] for start, end in chunks] == ["# A", "# B"]
    assert [headings_over(given_document, found) for found in chunks] == [["A"], ["B"]]


def test_code_stays_whole_where_it_fits() -> None:
    code = "```\n" + "line of code\n" * 5 + "```"
    text = f"{'A sentence here. ' * 4}\n\n{code}\n\n{'Another one. ' * 4}"
    chunks = [text[start:end] for start, end in chunk(document(text), 90, 20, Characters())]
    assert any(code in piece for piece in chunks)


def test_what_is_repeated_is_whole_sentences() -> None:
    text = " ".join(f"Sentence number {number} is here." for number in range(12))
    chunks = chunk(document(text), 100, 40, Characters())
    assert all(text[found.start :].startswith("Sentence number") for found in chunks)
    assert all(after.start < before.end for before, after in pairwise(chunks))


def test_a_chunk_knows_its_page_and_nested_headings() -> None:
    text = "# A\n\n## B\n\ntext\n\n# C\n\nmore"
    given_document = document(text) | {"pages": [[0, 12, 1], [12, len(text), 2]]}
    chunks = chunk(given_document, 16, 0, Characters())
    assert [headings_over(given_document, found) for found in chunks] == [["A"], ["C"]]
    assert [page_of(given_document, found) for found in chunks] == [1, 2]
    assert page_of(document(text), chunks[0]) is None
