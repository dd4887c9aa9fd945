import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetrail.text.chunks import LONGEST_WORD, chunk_spans

TEXT = 'One two. Three four five! "Six seven?" Version 1.2 is eight.\nNine ten'


def texts(text: str, size: int) -> list[str]:
    return [text[start:end] for start, end in chunk_spans(text, size)]


def test_sentences_are_packed_while_they_fit() -> None:
    assert texts(TEXT, 5) == [
        "One two. Three four five!",
        '"Six seven?"',
        "Version 1.2 is eight.",
        "Nine ten",
    ]
    assert texts(TEXT, 8) == ['One two. Three four five! "Six seven?"', "Version 1.2 is eight.\nNine ten"]
    assert texts(TEXT, 1000) == [TEXT]


def test_long_sentences_are_cut_between_words() -> None:
    assert texts("a b c d e. f", 2) == ["a b", "c d", "e. f"]


def test_scripts_without_spaces_are_cut_at_their_full_stops() -> None:
    assert texts("今日は晴れです。明日は雨です。「はい。」", 1) == [
        "今日は晴れです。",
        "明日は雨です。",
        "「はい。」",
    ]


def test_an_unbroken_run_is_bounded() -> None:
    assert {len(chunk) for chunk in texts("x" * 1000, 5)} == {5 * LONGEST_WORD}


def test_no_words_no_chunks_and_no_room_is_an_error() -> None:
    assert chunk_spans(" \n ", 5) == []
    with pytest.raises(ValueError, match="max_words=0"):
        chunk_spans("a", 0)


@given(st.text(alphabet="ab .!?\n\u3002\u201d)\u00a0\u00e9", max_size=200), st.integers(1, 12))
def test_spans_are_ordered_bounded_and_leave_out_only_white_space(text: str, size: int) -> None:
    spans = chunk_spans(text, size)
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert edges == sorted(edges)
    gaps = [text[end:start] for end, start in zip(edges[::2], edges[1::2], strict=True)]
    assert "".join(gaps).strip() == ""
    for start, end in spans:
        chunk = text[start:end]
        assert chunk == chunk.strip() != ""
        assert len(chunk.split()) <= size


@pytest.mark.heavy
def test_a_hostile_line_of_megabytes_takes_no_time() -> None:
    began = time.process_time()
    for text in ("." * 1_000_000, '."' * 500_000, "a " * 500_000, "x" * 1_000_000, "\u3002\u201d" * 500_000):
        chunk_spans(text, 60)
    assert time.process_time() - began < 10
