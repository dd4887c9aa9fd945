"""Calibration: exactly the pairs that people labelled, planted ones beside them, and a report of both."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.rows.artifacts import read_json
from finetrail.rows.records import Row, read_rows, write_jsonl
from label import pair_gold, plot_calibration, report_calibration
from synthesize import plant_defects, report_judging

TEXTS = {f"p{n}": f"Passage {n} is about rent number {n}. It has a second sentence." for n in range(6)}
SPLITS = {"a": "train", "b": "test"}


def write_inputs(folder: Path, gold: list[Row]) -> None:
    rows = [
        {"id": name, "session_id": name, "turn": 0, "question": "What about rent?", "image": None, "history": []}
        | {"answer": f"Answer of {name} is long", "origin": {"interaction_id": f"{name}-1"}}
        | {"queries": [{"text": "rent number 1"}], "candidates": [{"passage_id": "p0"}, {"passage_id": "p1"}]}
        for name in SPLITS
    ]
    write_jsonl(folder / "recall.jsonl", rows)
    splits = ({"id": name, "split": split, "group": f"g-{name}"} for name, split in SPLITS.items())
    write_jsonl(folder / "splits.jsonl", splits)
    write_jsonl(folder / "passages.jsonl", ({"id": name, "title": "", "text": text} for name, text in TEXTS.items()))
    write_jsonl(folder / "gold.jsonl", gold)


def paired(*, show_answer: bool = False, planted: int = 0) -> int:
    settings = {"label": {"calibration": {"planted": planted, "seed": 1}, "show_answer": show_answer}}
    settings["rerank"] = {"chunk_words": 20}
    given = ["--rows", "recall.jsonl", "--splits", "splits.jsonl", "--passages", "passages.jsonl"]
    given += ["--gold", "gold.jsonl", "--settings", json.dumps(settings)]
    return pair_gold.main(
        [*given, "--out", "pairs.jsonl", "--dropped", "pairs.dropped.jsonl", "--meta", "pairs.meta.json"]
    )


def pair(turn: str, passage: str, label: Any) -> Row:
    return {"task_id": turn, "document_id": passage, "label": label}


def test_exactly_the_labelled_pairs_are_used_and_the_others_are_listed(folder: Path) -> None:
    gold = [pair("a-1", "p1", "yes"), pair("a-1", "p4", "no"), pair("b-1", "p5", "yes")]
    others = [pair("a-1", "p2", "mixed"), pair("x-1", "p1", "yes"), pair("a-1", "gone", "no")]
    write_inputs(folder, [*gold, *others])
    assert paired() == 0
    found = [
        (row["id"], chunk["passage_id"], expected["relevant"], expected["origin"])
        for row in read_rows(folder / "pairs.jsonl")
        for chunk, expected in zip(row["chunks"], row["expected"], strict=True)
    ]
    assert found == [("a", "p1", True, "human"), ("a", "p4", False, "human"), ("b", "p5", True, "human")]
    reasons = [row["reason"] for row in read_rows(folder / "pairs.dropped.jsonl")]
    assert reasons == [pair_gold.MIXED, pair_gold.NO_RECORD, pair_gold.NO_PASSAGE]


def test_a_labeller_that_sees_answers_is_held_to_train_records(folder: Path) -> None:
    write_inputs(folder, [pair("a-1", "p1", "yes"), pair("b-1", "p5", "yes")])
    assert paired(show_answer=True, planted=9) == 0
    assert [row["id"] for row in read_rows(folder / "pairs.jsonl")] == ["a"]
    assert [row["reason"] for row in read_rows(folder / "pairs.dropped.jsonl")] == [pair_gold.HELD_OUT]


def test_what_is_planted_was_neither_found_nor_labelled(folder: Path) -> None:
    write_inputs(folder, [pair("a-1", "p2", "yes")])
    assert paired(planted=9) == 0
    rows = {row["id"]: row for row in read_rows(folder / "pairs.jsonl")}
    planted = {
        name: {c["passage_id"] for c, e in zip(row["chunks"], row["expected"], strict=True) if e["origin"] == "planted"}
        for name, row in rows.items()
    }
    assert planted["a"] <= {"p3", "p4", "p5"} and planted["b"] <= {"p2", "p3", "p4", "p5"}
    assert all(len(names) == 1 for names in planted.values())


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        ([pair("a-1", "p1", "yes"), pair("a-1", "p1", "no")], "the pair was labelled before"),
        ([pair("a-1", "p1", "maybe")], "label is 'maybe', expected yes, no or mixed"),
        ([{"label": "yes", "document_id": "p1"}], "the label names no turn"),
    ],
)
def test_bad_gold_is_named_with_its_line(
    folder: Path, gold: list[Row], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_inputs(folder, gold)
    assert paired() == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"gold.jsonl:{len(gold)}" in last and said in last


def test_the_report_and_its_picture(folder: Path) -> None:
    write_inputs(folder, [pair("a-1", "p1", "yes"), pair("a-1", "p4", "no"), pair("b-1", "p5", "yes")])
    assert paired(planted=9) == 0
    rows = [
        row | {"labels": [{"relevant": chunk["passage_id"] in ("p1", "p5")} for chunk in row["chunks"]]}
        for row in read_rows(folder / "pairs.jsonl")
    ]
    write_jsonl(folder / "labeled.jsonl", rows)
    settings = {"calibration": {"resamples": 200, "seed": 1}, "model": {"model": "gpt"}, "scale": "binary"}
    given = ["--pairs", "labeled.jsonl", "--dropped", "pairs.dropped.jsonl", "--labels", "labeled.jsonl"]
    given += ["--splits", "splits.jsonl", "--settings", json.dumps({"label": settings})]
    assert report_calibration.main([*given, "--out", "label_calibration.json", "--meta", "r.meta.json"]) == 0
    report = read_json(folder / "label_calibration.json")
    assert report["human"]["confusion"] == {"tp": 2, "fp": 0, "fn": 0, "tn": 1}
    assert report["planted"]["other_passage"]["pairs"] == 2
    assert report["rests_on_offline_teacher"] is False
    pictures = []
    for name in ("one.svg", "two.svg"):
        drawn = ["--report", "label_calibration.json", "--picture", name, "--meta", f"{name}.meta.json"]
        assert plot_calibration.main(drawn) == 0
        pictures.append((folder / name).read_bytes())
    assert pictures[0] == pictures[1] and b"<svg" in pictures[0]


def test_defects_are_planted_and_what_the_judge_notices_is_counted(folder: Path) -> None:
    write_inputs(folder, [])
    settings = {"planted": 2, "planted_seed": 1, "judge": {"model": "gpt"}}
    given = ["--rows", "recall.jsonl", "--passages", "passages.jsonl", "--meta", "m.json"]
    given += ["--settings", json.dumps({"synthesize": settings})]
    assert plant_defects.main([*given, "--out", "answers.jsonl"]) == 0
    planted = {(row["record_id"], row["kind"]): row["answer"] for row in read_rows(folder / "answers.jsonl")}
    assert planted["a", "intact"] == "Answer of a is long"
    assert planted["a", "swapped_answer"] == "Answer of b is long"
    assert planted["a", "unsupported_fact"].startswith("Answer of a is long ")
    assert "truncated" not in {kind for _, kind in planted}, "five words are too few to cut"
    assert planted["a", "other_passage"].startswith("Passage ")
    judged = (
        row | {"verdict": {"correct": row["kind"] in ("intact", "unsupported_fact")}}
        for row in read_rows(folder / "answers.jsonl")
    )
    write_jsonl(folder / "judged.jsonl", judged)
    given = ["--rows", "judged.jsonl", "--splits", "splits.jsonl", "--settings", json.dumps({"synthesize": settings})]
    assert report_judging.main([*given, "--out", "judge.json", "--meta", "j.json"]) == 0
    report = read_json(folder / "judge.json")
    assert report["intact"]["taken"]["estimate"] == 1.0
    rates = {kind: entry["detected"]["estimate"] for kind, entry in report["planted"].items()}
    assert rates == {"other_passage": 1.0, "swapped_answer": 1.0, "unsupported_fact": 0.0}
