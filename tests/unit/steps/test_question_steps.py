"""Pairs of questions and answers after they were written: combined, summarised, chosen and formatted."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.models.templates import HOLDS_CONTROL
from finetrail.rows.records import Row, read_rows, write_jsonl
from synthesize import combine_qa, format_qa, report_validation, select_qa
from synthesize.combine_qa import EMPTY, NO_SUPPORT, REPEATED

TEXT = "The sky is blue. Grass is green."
OF_SYNTHESIS = {"criteria": ["accuracy"], "pass_score": 8.0, "review_score": 7.0, "threshold": 8.0}


def record(name: str, **more: Any) -> Row:
    row = {"id": name, "session_id": "d", "turn": 0, "history": [], "image": None, "question": "", "answer": ""}
    return row | more


RECORDS = [
    record("train", chunk={"text": TEXT, "file": "a.md", "title": "A", "start": 100}, group_keys={"text": "text a"}),
    record("test", chunk={"text": TEXT, "file": "b.md", "title": "B", "start": 0}, group_keys={"text": "text b"}),
    record("old", question="Old?", answer="Yes.", pair={"context": "", "document": None}),
]
SPLITS = [
    {"id": name, "group": name, "split": "test" if name == "test" else "train"} for name in ("train", "test", "old")
]


def pair(number: int, record_id: str, question: str, support: list[int] | None, answer: str = "Blue.") -> Row:
    return {
        "id": f"qa{number}", "parents": [record_id], "record_id": record_id, "question": question, "answer": answer,
        "style": "a fact", "support": support, "calls": [f"call{number}"],
    }  # fmt: skip


def combine(pairs: list[Row], seen: float = 0.0) -> dict[str, list[Row]]:
    for name, rows in (("qa", pairs), ("records", RECORDS), ("splits", SPLITS)):
        write_jsonl(Path(f"{name}.jsonl"), rows)
    files = ["--rows", "qa.jsonl", "--records", "records.jsonl", "--splits", "splits.jsonl", "--meta", "m.json"]
    out = ["--out", "train.jsonl", "--held-out", "held.jsonl", "--dropped", "dropped.jsonl"]
    out += ["--settings", json.dumps({"synthesize": {"seen_questions": seen}})]
    assert combine_qa.main([*files, *out]) == 0
    return {name: list(read_rows(Path(f"{name}.jsonl"))) for name in ("train", "held", "dropped")}


def test_pairs_are_sorted_by_split_and_what_has_no_support_is_listed() -> None:
    made = combine(
        [
            pair(1, "train", "What is blue?", [0, 16]),
            pair(2, "train", "what  is BLUE?", [0, 16]),
            pair(3, "train", "What is red?", None),
            pair(4, "train", "What is green?", [17, 32], answer=""),
            pair(5, "test", "What is blue?", [0, 16]),
        ]
    )
    assert [row["id"] for row in made["train"]] == ["qa1", "old"]
    assert [row["id"] for row in made["held"]] == ["qa5"]
    assert {row["id"]: row["reason"] for row in made["dropped"]} == {"qa2": REPEATED, "qa3": NO_SUPPORT, "qa4": EMPTY}
    assert made["train"][0]["support_text"] == "The sky is blue."
    assert made["held"][0]["reference"] == "The sky is blue."
    assert json.loads(Path("m.json").read_text())["counts"]["in"] == 6


def test_pairs_about_control_tokens_are_kept_but_for_strings_that_hold_those_of_a_template() -> None:
    """Trained on, they are words. In one string with the template's own, they would end a turn."""
    asked = ["What ends a text?", "What does [INST] mean?", "Is a <b> a tag?"]
    answers = ["The token </s> does.", "That a turn begins.", "Yes, <b> is one; [1] is none."]
    pairs = [pair(n, "train", asked[n], [0, 16], answers[n]) for n in range(3)]
    made = combine([*pairs, pair(3, "test", "What is blue?", [0, 16])])
    assert [row["id"] for row in made["train"]] == ["qa0", "qa1", "qa2", "old"] and made["dropped"] == []
    write_jsonl(Path("validated.jsonl"), [row | {"validation": {"overall": 9.0}} for row in made["train"]])
    out = ["--rows", "validated.jsonl", "--meta", "m.json", "--out", "f.jsonl", "--threshold", "8.0"]
    settings = json.dumps({"folds": {"system_prompt": ""}})
    for template, kept, dropped in (("alpaca", 4, {}), ("chatml", 2, {HOLDS_CONTROL: 2})):
        assert format_qa.main([*out, "--template", template, "--settings", settings]) == 0
        counts = json.loads(Path("m.json").read_text())["counts"]
        assert (counts["kept"], counts["dropped"]) == (kept, dropped)


def test_some_questions_on_train_documents_are_asked_in_the_test_instead() -> None:
    sky, grass = [0, 16], [17, 32]
    pairs = [pair(n, "train", f"Question {n}?", sky if n % 2 else grass) for n in range(200)]
    made = combine([*pairs, pair(200, "train", " question 7? ", sky), pair(201, "test", "Question 7?", sky)], seen=0.3)
    seen = {row["id"]: row for row in made["held"] if row["record_id"] == "train"}
    trained = {row["id"] for row in made["train"]}
    assert 40 < len(seen) < 80
    assert (
        trained.isdisjoint(seen) and len(trained) + len(seen) == 200 + 1
    )  # with the existing pair, but not the repeated
    assert {row["fact_trained"] for row in seen.values()} == {True}, "both sentences are asked about in training, too"
    assert "fact_trained" not in next(row for row in made["held"] if row["id"] == "qa201")
    again = combine([p for p in pairs if p["id"] in seen or p["support"] == grass], seen=0.3)
    told = {row["id"]: row["fact_trained"] for row in again["held"]}
    assert all(told[name] == (row["support"] == grass) for name, row in seen.items())
    assert set(told) == set(seen), "which ones does not depend on the others"


def scored(*scores: float) -> None:
    rows = [
        pair(number, "train", f"Q{number}?", [0, 16])
        | {key: RECORDS[0][key] for key in ("session_id", "turn", "history", "image")}
        | {"kind": "generated", "validation": {"overall": score, "scores": {"accuracy": score}}}
        for number, score in enumerate(scores)
    ]
    write_jsonl(Path("validated.jsonl"), rows)


def test_the_report_counts_all_and_filters_nothing() -> None:
    scored(10.0, 8.0, 7.5, 3.0)
    out = ["--out", "r.json", "--text", "r.txt", "--picture", "r.svg", "--meta", "m.json", "--rows", "validated.jsonl"]
    assert report_validation.main([*out, "--settings", json.dumps({"synthesize": OF_SYNTHESIS})]) == 0
    report = json.loads(Path("r.json").read_text())
    assert {name: entry["count"] for name, entry in report["verdicts"].items()} == {
        "PASS": 2,
        "NEEDS_REVIEW": 1,
        "FAIL": 1,
    }
    assert report["mean_scores"] == {"accuracy": 7.125}
    assert "Overall: 9-10: 1 (25.0%)" in Path("r.txt").read_text()


@pytest.mark.parametrize(("threshold", "kept"), [(8.0, 2), (7.5, 3), (0.0, 4)])
def test_threshold_of_training_and_of_formatting(threshold: float, kept: int) -> None:
    scored(10.0, 8.0, 7.5, 3.0)
    settings = json.dumps({"synthesize": OF_SYNTHESIS | {"threshold": threshold}})
    out = ["--rows", "validated.jsonl", "--meta", "m.json", "--out"]
    assert select_qa.main([*out, "s.jsonl", "--dropped", "d.jsonl", "--settings", settings]) == 0
    formatted = [*out, "f.jsonl", "--template", "alpaca", "--threshold", str(threshold)]
    assert format_qa.main([*formatted, "--settings", json.dumps({"folds": {"system_prompt": ""}})]) == 0
    chosen, written = list(read_rows(Path("s.jsonl"))), list(read_rows(Path("f.jsonl")))
    assert len(chosen) == len(written) == kept
    assert [row["question"] for row in chosen] == [row["instruction"] for row in written]
    assert len(list(read_rows(Path("d.jsonl")))) == 4 - kept


def test_an_unknown_template_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    scored(10.0)
    files = ["--rows", "validated.jsonl", "--meta", "m.json", "--out", "f.jsonl"]
    settings = json.dumps({"folds": {"system_prompt": ""}})
    assert format_qa.main([*files, "--template", "vicuna", "--threshold", "8.0", "--settings", settings]) == 1
    assert "alpaca" in capsys.readouterr().err
