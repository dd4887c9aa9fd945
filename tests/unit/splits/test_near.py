"""Near-duplicates are found, and nothing is called one that is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrail.errors import FinetrailError
from finetrail.splits.overlap.near_duplicates import LEAST_RECALL, NearTexts, band_shape
from finetrail.splits.overlap.row_text import row_text
from finetrail.splits.overlap.shingles import jaccard, merge_near, sample, shingles, tokens
from tests.unit.splits.texts import changed, text_of


def matches(texts: list[str], threshold: float = 0.8, size: int = 5) -> dict[tuple[int, int], float]:
    near = NearTexts(texts, threshold, size)
    found = {(i, j): near.match(i, j) for i in range(len(texts)) for j in near.earlier(i)}
    return {pair: match.similarity for pair, match in found.items() if match}


def test_the_similarity_is_the_exact_one() -> None:
    text = text_of(1)
    assert matches([text, text_of(2), changed(text)]) == {(2, 0): pytest.approx(51 / 61)}


def test_a_pair_below_the_threshold_is_none_however_often_it_is_proposed() -> None:
    text = text_of(1)
    assert matches([text, changed(changed(text, 10), 50)], threshold=0.8) == {}
    assert matches([text, changed(changed(text, 10), 50)], threshold=0.6) == {(1, 0): pytest.approx(46 / 66)}


def test_signs_spaces_and_unspaced_scripts() -> None:
    assert tokens("What is 2+2?") != tokens("What is 2-2?")
    assert matches(["What is 2+2?", "What is 2-2?", "what  is\n2+2?"]) == {(2, 0): 1.0}
    chinese = "训练数据必须与测试数据分开因为模型会记住它见过的一切"
    assert len(shingles(tokens(chinese), 5)) > 10
    assert matches([chinese, chinese + "了"]) == {(1, 0): pytest.approx(23 / 24, abs=0.03)}


def test_the_whole_stream_is_one_set_across_batches() -> None:
    texts = [text_of(n) for n in range(2500)]
    texts[2400] = changed(texts[3])
    texts[1999] = texts[1000]
    assert matches(texts) == {(2400, 3): pytest.approx(51 / 61), (1999, 1000): 1.0}


@given(st.floats(0.3, 1.0))
@settings(max_examples=50)
def test_bands_find_pairs_at_the_threshold(threshold: float) -> None:
    bands, rows = band_shape(threshold)
    assert bands * rows <= 128
    assert rows == 1 or 1 - (1 - threshold**rows) ** bands >= LEAST_RECALL


def test_hundreds_of_planted_pairs_are_all_found() -> None:
    texts = [text_of(n) for n in range(400)]
    found = matches([*texts, *map(changed, texts)])
    assert {(n + 400, n) for n in range(400)} <= set(found)
    for (i, j), similarity in found.items():
        both = [*texts, *map(changed, texts)]
        assert similarity == jaccard(shingles(tokens(both[i]), 5), shingles(tokens(both[j]), 5)) >= 0.8


def test_of_equal_texts_the_first_is_proposed_and_nothing_that_is_like_it_is_missed() -> None:
    first, between = text_of(1), changed(text_of(1))
    near = NearTexts([first, between, first.upper(), text_of(2), between], 0.8, 5)
    assert [near.earlier(place) for place in range(5)] == [[], [0], [0, 1], [], [0, 1]]


def test_no_text_at_all() -> None:
    NearTexts([], 0.8, 5)


def test_chunks_are_compared_by_their_text_and_rows_without_words_are_refused() -> None:
    assert row_text({"id": "a", "question": "", "answer": "", "chunk": {"text": "Words."}}) == "Words."
    assert row_text({"id": "a", "question": "Q", "answer": "A"}) == "Q\nA"
    with pytest.raises(FinetrailError, match="a: the row has none of"):
        row_text({"id": "a", "question": "", "answer": ""})


def test_a_short_list_is_merged_into_its_first_texts() -> None:
    whole = [f"word{number}" for number in range(200)]
    half = whole[:100]
    assert merge_near([whole, half], 0.9) == [0, 1]
    assert merge_near([whole, half], 0.4) == [0, 0]
    assert merge_near([[], [], ["a"]], 0.9) == [0, 0, 2], "texts without a word are alike"
    assert len(sample(shingles([*map(str, range(50_000))], 5), 4000)) == 4000
