"""A fold holds every dev and test record, and train examples of train records only."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from finetrail.records import read_rows, write_jsonl
from folds import make_folds

SPLITS = {"a": "train", "b": "train", "c": "dev", "d": "test", "e": "test"}
TURNS = (1, 2, 3)


def record(session: str, turn: int) -> dict[str, Any]:
    return {
        "id": f"{session}:{turn}",
        "session_id": session,
        "turn": turn,
        "question": f"question {turn} of {session}",
        "answer": f"answer {turn} of {session}",
        "image": None,
        "history": [],
        "group_keys": {"session": session},
        "chunks": [{"passage_id": "p", "start": 0, "end": 4, "score": 1.0}],
    }


@pytest.fixture(autouse=True)
def inputs(folder: Path) -> None:
    """Five sessions of three turns; each train record has one synthetic example."""
    records = [record(session, turn) for session in SPLITS for turn in TURNS]
    splits = [
        {"id": row["id"], "group": f"group-{row['session_id']}", "split": SPLITS[row["session_id"]]} for row in records
    ]
    examples = [
        row | {"id": f"{row['id']}#0", "record_id": row["id"], "parents": [row["id"]], "kind": "synthetic"}
        for row in records
        if SPLITS[row["session_id"]] == "train"
    ]
    write_jsonl(Path("reranked.jsonl"), records)
    write_jsonl(Path("splits.jsonl"), splits)
    write_jsonl(Path("synthetic.jsonl"), examples)
    write_jsonl(Path("passages.jsonl"), [{"id": "p", "title": "P", "text": "Pike and perch"}])


def run() -> int:
    settings = {
        "folds": {"names": ["fold0"], "layout": "evidence", "system_prompt": "Be brief.", "evidence": 2},
        "splits": {"method": "groups"},
    }
    files = ["--rows", "synthetic.jsonl", "--records", "reranked.jsonl", "--splits", "splits.jsonl"]
    files += ["--passages", "passages.jsonl", "--train", "train.jsonl", "--eval", "eval.jsonl", "--test", "test.jsonl"]
    files += ["--report", "report.json", "--meta", "fold.meta.json"]
    return make_folds.main([*files, "--settings", json.dumps(settings)])


def ids(name: str) -> list[str]:
    return [row["id"] for row in read_rows(Path(name))]


def assigned(split: str) -> list[str]:
    return [row["id"] for row in read_rows(Path("splits.jsonl")) if row["split"] == split]


def test_every_dev_and_test_record_is_there_as_the_splits_say() -> None:
    assert run() == 0
    assert ids("eval.jsonl") == assigned("dev")
    assert ids("test.jsonl") == assigned("test")
    assert ids("train.jsonl") == [f"{name}#0" for name in assigned("train")]
    report = json.loads(Path("report.json").read_text())
    assert {name: report[name]["rows"] for name in ("train", "eval", "test")} == {"train": 6, "eval": 3, "test": 6}
    assert report["proof"]["rows"] == dict(Counter(row["split"] for row in read_rows(Path("splits.jsonl"))))
    counts = json.loads(Path("fold.meta.json").read_text())["counts"]
    assert counts == {"in": 15, "kept": 15, "dropped": {}, "quarantined": 0}


def test_a_held_out_record_that_is_lost_stops_the_step(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write = make_folds.write_held_out
    monkeypatch.setattr(
        make_folds, "write_held_out", lambda rows, *rest: write((row for row in rows if row["turn"] != 2), *rest)
    )
    assert run() == 1
    assert "15 rows came in and 12 kept" in capfd.readouterr().err.splitlines()[-1]
    assert not Path("test.jsonl").exists()


def test_an_example_of_a_test_record_stops_the_step(capfd: pytest.CaptureFixture[str]) -> None:
    examples = list(read_rows(Path("synthetic.jsonl")))
    write_jsonl(Path("synthetic.jsonl"), [*examples, examples[0] | {"record_id": "d:1"}])
    assert run() == 1
    assert "an example of a dev or test record" in capfd.readouterr().err.splitlines()[-1]


HOMES = {"a": ("DA", "train"), "b": ("DB", "train"), "c": ("DA", "dev"), "d": ("DB", "train"), "e": ("DB", "dev")}


def several() -> None:
    """Give the five sessions to two folds, and drop the synthetic example of one record of each."""
    splits = list(read_rows(Path("splits.jsonl")))
    for row in splits:
        row["fold"], row["split"] = HOMES[row["id"][0]]
    records = list(read_rows(Path("reranked.jsonl")))
    examples = [
        row | {"id": f"{row['id']}#0", "record_id": row["id"], "parents": [row["id"]], "kind": "reasoning"}
        for row in records
        if HOMES[row["session_id"]][1] == "train" and row["turn"] != 2
    ]
    write_jsonl(Path("splits.jsonl"), splits)
    write_jsonl(Path("synthetic.jsonl"), examples)


def run_fold(fold: str, *, rows: str = "synthetic.jsonl", layout: str = "prompt", method: str = "groups") -> int:
    settings = {
        "folds": {"names": ["DA", "DB"], "layout": layout, "system_prompt": "", "evidence": 2},
        "splits": {"method": method},
    }
    files = ["--fold", fold, "--rows", rows, "--records", "reranked.jsonl", "--splits", "splits.jsonl"]
    files += ["--train", "train.jsonl", "--eval", "eval.jsonl", "--test", "test.jsonl"]
    files += ["--report", "report.json", "--meta", "fold.meta.json", "--settings", json.dumps(settings)]
    return make_folds.main(files)


def of(*sessions: str, turns: tuple[int, ...] = TURNS) -> list[str]:
    return [f"{session}:{turn}" for session in sorted(sessions) for turn in turns]


def test_a_fold_is_tested_on_every_original_record_of_the_other() -> None:
    """Those whose answer was dropped too (turn 2), and those of the other fold's dev."""
    several()
    assert run_fold("DA") == 0
    assert ids("train.jsonl") == [f"{name}#0" for name in of("a", turns=(1, 3))]
    assert ids("eval.jsonl") == of("c")
    assert ids("test.jsonl") == of("b", "d", "e")
    assert {row["kind"] for row in read_rows(Path("test.jsonl"))} == {"original"}
    assert run_fold("DB") == 0
    assert ids("train.jsonl") == [f"{name}#0" for name in of("b", "d", turns=(1, 3))]
    assert ids("eval.jsonl") == of("e")
    assert ids("test.jsonl") == of("a", "c")
    counts = json.loads(Path("fold.meta.json").read_text())["counts"]
    assert counts == {"in": 13, "kept": 13, "dropped": {}, "quarantined": 0}


def test_an_example_of_a_dev_record_stops_also_one_of_several_folds(capfd: pytest.CaptureFixture[str]) -> None:
    several()
    examples = list(read_rows(Path("synthetic.jsonl")))
    write_jsonl(Path("synthetic.jsonl"), [*examples, examples[0] | {"id": "x", "record_id": "c:1"}])
    assert run_fold("DA") == 1
    assert "an example of a dev or test record" in capfd.readouterr().err.splitlines()[-1]
    assert run_fold("DB") == 0


def test_finished_examples_enter_at_the_folds_to_the_last_character() -> None:
    several()
    records = list(read_rows(Path("reranked.jsonl")))
    for row in records:
        row["question"], row["answer"] = f"  prompt of {row['id']}\n", f"\tresponse to {row['id']} \n"
        del row["chunks"]
    write_jsonl(Path("reranked.jsonl"), records)
    assert run_fold("DA", rows="reranked.jsonl") == 0
    assert ids("train.jsonl") == of("a")
    assert ids("test.jsonl") == of("b", "d", "e")
    for name in ("train", "eval", "test"):
        for row in read_rows(Path(f"{name}.jsonl")):
            assert row["messages"] == [
                {"role": "user", "content": f"  prompt of {row['id']}\n"},
                {"role": "assistant", "content": f"\tresponse to {row['id']} \n"},
            ]


def test_without_dev_records_the_file_of_dev_is_empty_and_lost_ones_are_missed() -> None:
    several()
    splits = [row | {"split": "train"} for row in read_rows(Path("splits.jsonl"))]
    write_jsonl(Path("splits.jsonl"), splits)
    assert run_fold("DA") == 0
    assert ids("eval.jsonl") == []


def test_a_shuffle_is_reported_with_what_straddles(capfd: pytest.CaptureFixture[str]) -> None:
    several()
    splits = [row | {"fold": "DB" if row["id"] == "a:1" else row["fold"]} for row in read_rows(Path("splits.jsonl"))]
    write_jsonl(Path("splits.jsonl"), splits)
    assert run_fold("DA") == 1
    assert "groups straddle" in capfd.readouterr().err
    assert run_fold("DA", method="shuffle") == 0
    assert json.loads(Path("report.json").read_text())["proof"]["straddling"] == 2
