"""A student that searches for itself is taught its queries and its choice, of train records and of nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.rows.artifacts import read_json
from finetrail.rows.records import Row, read_rows, write_jsonl
from folds import make_folds
from synthesize import write_student_tasks
from tests.unit.steps.test_answer_versions import select

STUDENT: dict[str, Any] = {
    "choice": "model",
    "query_prompt": "Write queries.",
    "choice_prompt": "Choose.",
    "max_tokens": 20,
}
CHUNKS: list[Row] = [
    {"passage_id": name, "start": 0, "end": 4, "score": 1.0, "rank": rank} for rank, name in enumerate("abc", 1)
]


def labelled(name: str, relevant: str = "b", origin: str = "model", session: str | None = None) -> Row:
    """Return a record as filter_passages leaves it; the session of a name is its own."""
    return {
        "id": name,
        "session_id": session or name,
        "turn": 0,
        "question": f"What is {name}?",
        "answer": "Gold.",
        "image": None,
        "history": [],
        "queries": [{"text": f"{name} meaning", "origin": origin}, {"text": f"{name} origin", "origin": origin}],
        "calls": ["q" * 64],
        "chunks": CHUNKS,
        "labels": [{"passage_id": c["passage_id"], "relevant": c["passage_id"] in relevant} for c in CHUNKS],
        "group_keys": {"session": name},
    }


def taught(rows: list[Row], *, turns: str = "comb", **student: Any) -> list[Row]:
    """Run the step and return its rows."""
    write_jsonl(Path("relevant.jsonl"), rows)
    settings = {"student": STUDENT | student, "synthesize": {"turns": turns}}
    files = ["--rows", "relevant.jsonl", "--originals", "relevant.jsonl", "--out", "tasks.jsonl"]
    assert write_student_tasks.main([*files, "--meta", "tasks.meta.json", "--settings", json.dumps(settings)]) == 0
    return list(read_rows(Path("tasks.jsonl")))


def test_a_record_teaches_its_queries_and_the_numbers_of_its_relevant_chunks(folder: Path) -> None:
    query, choice = taught([labelled("x", relevant="ac")])
    assert (query["kind"], query["answer"], query["chunks"]) == ("search_query", "x meaning\nx origin", [])
    assert query["calls"] == ["q" * 64]
    assert (choice["kind"], choice["answer"], choice["chunks"]) == ("passage_choice", "1, 3", CHUNKS)
    assert query["record_id"] == choice["record_id"] == "x" and query["id"] != choice["id"]


def test_where_no_passage_helps_it_is_taught_to_say_so(folder: Path) -> None:
    assert taught([labelled("x", relevant="")])[-1]["answer"] == "none"


def test_a_question_that_was_its_own_query_teaches_none(folder: Path) -> None:
    assert [row["kind"] for row in taught([labelled("x", origin="question")])] == ["passage_choice"]


def test_where_the_reranker_chooses_no_choice_is_taught(folder: Path) -> None:
    assert [row["kind"] for row in taught([labelled("x")], choice="reranker")] == ["search_query"]


def test_sessions_that_the_recipe_does_not_take_teach_nothing_and_are_counted(folder: Path) -> None:
    rows = [labelled("x"), labelled("y", session="s"), labelled("z", session="s")]
    assert {row["record_id"] for row in taught(rows, turns="multi")} == {"y", "z"}
    assert read_json(Path("tasks.meta.json"))["counts"]["in"] == 3
    assert sum(read_json(Path("tasks.meta.json"))["counts"]["dropped"].values()) == 1


@pytest.mark.parametrize(
    ("student", "shown"), [(STUDENT, "b"), (STUDENT | {"choice": "reranker"}, "abc"), (None, "abc")]
)
def test_answers_are_trained_on_what_the_student_will_have_chosen(
    folder: Path, student: dict[str, Any] | None, shown: str
) -> None:
    write_jsonl(folder / "records.jsonl", [labelled("x")])
    (kept,), _, _ = select([], student=student, keep_original=True)
    assert [chunk["passage_id"] for chunk in kept["chunks"]] == list(shown)


FILES = ("train", "eval", "test")


@pytest.fixture
def fold(folder: Path) -> None:
    """Write the inputs of a fold: three records, one of each split, and what the first of them teaches."""
    records = [labelled(name) for name in ("train", "dev", "test")]
    write_jsonl(folder / "reranked.jsonl", records)
    splits = [{"id": name, "group": f"g-{name}", "split": name} for name in ("train", "dev", "test")]
    write_jsonl(folder / "splits.jsonl", splits)
    passages = [{"id": c["passage_id"], "title": c["passage_id"].upper(), "text": "Text of it"} for c in CHUNKS]
    write_jsonl(folder / "passages.jsonl", passages)
    taught(records[:1])
    write_jsonl(folder / "synthetic.jsonl", [records[0] | {"id": "e", "record_id": "train", "parents": ["train"]}])


def lay_out() -> int:
    """Run make_folds."""
    screen: dict[str, Any] = {"train_on": "own", "duplicates": None, "benchmarks": [], "contamination": "report"}
    shown = {"names": ["fold0"], "layout": "evidence", "system_prompt": "Answer.", "evidence": 2}
    settings = {"folds": shown | screen, "student": STUDENT, "splits": {"method": "hash", "group_by": ["session"]}}
    files = ["--rows", "synthetic.jsonl", "tasks.jsonl", "--records", "reranked.jsonl", "--splits", "splits.jsonl"]
    files += ["--passages", "passages.jsonl", "--report", "report.json", "--dropped", "dropped.jsonl"]
    files += [part for name in FILES for part in (f"--{name}", f"{name}.jsonl")]
    return make_folds.main([*files, "--meta", "fold.meta.json", "--settings", json.dumps(settings)])


def test_each_task_has_its_own_system_message_and_its_own_evidence(fold: None) -> None:
    assert lay_out() == 0
    train = list(read_rows(Path("train.jsonl")))
    said = {row["kind"]: (row["messages"][0]["content"], len(row["evidence"])) for row in train}
    assert said == {"original": ("Answer.", 2), "search_query": ("Write queries.", 0), "passage_choice": ("Choose.", 3)}
    choice = train[-1]
    assert choice["messages"][-1]["content"] == "2" and "[2] B: Text" in choice["messages"][1]["content"]


def test_dev_and_test_hold_the_records_and_no_task(fold: None) -> None:
    assert lay_out() == 0
    assert [row["kind"] for name in FILES[1:] for row in read_rows(Path(f"{name}.jsonl"))] == ["original", "original"]
    assert read_json(Path("report.json"))["train"]["kinds"]["search_query"] == 1


def test_a_task_of_a_test_record_is_refused(fold: None, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(Path("tasks.jsonl"), [row | {"record_id": "test"} for row in read_rows(Path("tasks.jsonl"))])
    assert lay_out() == 1
    assert "cannot be trained on" in capsys.readouterr().err
