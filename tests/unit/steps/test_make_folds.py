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
