"""Runs of 13 words accuse a train row, 8-grams cover a held-out text."""

from pathlib import Path

import pytest

from finetrail.errors import FinetrailError
from finetrail.splits.overlap.benchmarks import benchmark_texts
from finetrail.splits.overlap.contamination import HeldOut, Hit, Text
from tests.unit.splits.texts import text_of


def with_run(seed: str, run: list[str]) -> Text:
    words = text_of(seed).split()
    return Text(seed, " ".join([*words[:20], *run, *words[20:]]))


def test_thirteen_words_in_a_row_accuse_and_twelve_do_not() -> None:
    held = [Text(f"test:{n}", text_of(n)) for n in range(50)]
    words = held[17].text.split()
    train = [with_run("a", words[5:17]), with_run("b", words[5:18]), Text("c", text_of("c"))]
    assert list(HeldOut(held).hits(train)) == [None, Hit("b", "test:17", " ".join(words[5:18])), None]


def test_the_coverage_is_the_share_of_words_in_shared_runs_of_eight() -> None:
    held = [Text("test:0", text_of(0)), Text("test:1", text_of(1)), Text("test:2", text_of(2, words=6))]
    words = held[0].text.split()
    checked = HeldOut(held)
    # 12 and 9 words, overlapping by 4: 17 of 60; a run of 7 is none.
    train = [with_run("a", words[5:17]), with_run("b", words[13:22]), with_run("c", held[1].text.split()[:7])]
    assert [*checked.hits(train)] == [None] * 3
    assert checked.covered() == {"test:0": round(17 / 60, 6)}
    assert (checked.short[13], checked.short[8]) == (1, 1)


def test_a_run_across_two_texts_is_none() -> None:
    held = [Text("x", text_of(0, 6)), Text("y", text_of(1, 20))]
    joined = f"{held[0].text} {' '.join(held[1].text.split()[:7])}"
    checked = HeldOut(held)
    assert list(checked.hits([Text("t", joined)])) == [None]
    assert checked.covered() == {}


def test_case_and_space_hide_nothing_and_batches_change_nothing() -> None:
    held = [Text(f"test:{n}", text_of(n)) for n in range(4500)]
    train = [Text(f"t{n}", text_of(f"t{n}")) for n in range(4100)]
    train[4050] = Text("t4050", held[4444].text.upper().replace(" ", "\n"))
    hits = list(HeldOut(held).hits(train))
    assert [(hit.name, hit.other) for hit in hits if hit] == [("t4050", "test:4444")]


def test_nothing_held_out_accuses_nobody() -> None:
    checked = HeldOut([])
    assert list(checked.hits([Text("a", text_of(1))])) == [None]
    assert checked.covered() == {}


def test_benchmarks_are_read_line_by_line(tmp_path: Path) -> None:
    rows, lines, other = tmp_path / "b.jsonl", tmp_path / "b.txt", tmp_path / "b.csv"
    rows.write_text('{"q": "one", "choices": ["two", {"x": "three"}], "n": 3}\n')
    lines.write_text("first\n\nsecond\n")
    other.write_text("x")
    assert list(benchmark_texts(rows)) == [Text("b.jsonl:1", "one\ntwo\nthree")]
    assert list(benchmark_texts(lines)) == [Text("b.txt:1", "first\n"), Text("b.txt:3", "second\n")]
    with pytest.raises(FinetrailError, match=r"\.jsonl or \.txt, not \.csv"):
        list(benchmark_texts(other))
