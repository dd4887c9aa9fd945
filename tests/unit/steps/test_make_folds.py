"""A fold holds every dev and test record, and train examples of train records only."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from finetrail.rows.records import read_rows, write_jsonl
from folds import describe_fold, make_folds
from tests.unit.splits.texts import changed, text_of

SPLITS = {"a": "train", "b": "train", "c": "dev", "d": "test", "e": "test"}
TURNS = (1, 2, 3)
SCREEN: dict[str, Any] = {"train_on": "own", "duplicates": None, "benchmarks": [], "contamination": "report"}


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


def run(benchmarks: Sequence[str] = (), *, held_out: Sequence[str] = (), **screen: Any) -> int:
    settings = {
        "folds": {
            "names": ["fold0"],
            "layout": "evidence",
            "system_prompt": "Be brief.",
            "evidence": 2,
            **SCREEN,
            **screen,
        },
        "student": None,
        "splits": {"method": "hash", "group_by": ["session"]},
    }
    files = ["--rows", "synthetic.jsonl", "--records", "reranked.jsonl", "--splits", "splits.jsonl"]
    files += [
        *([] if held_out else ["--passages", "passages.jsonl"]),
        "--train",
        "train.jsonl",
        "--eval",
        "eval.jsonl",
        "--test",
        "test.jsonl",
    ]
    files += ["--report", "report.json", "--dropped", "train.dropped.jsonl", "--meta", "fold.meta.json"]
    files += ["--benchmarks", *benchmarks, *held_out]
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


def test_a_key_that_the_recipe_leaves_out_of_its_groups_may_straddle() -> None:
    """The remedy for a group that is too large: `splits.group_by` without the key that holds it together."""
    records = [row | {"group_keys": row["group_keys"] | {"image": "logo"}} for row in read_rows(Path("reranked.jsonl"))]
    write_jsonl(Path("reranked.jsonl"), records)
    assert run() == 0
    assert json.loads(Path("report.json").read_text())["proof"]["key_values"] == len(SPLITS)


def question(name: str, record_id: str, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": name,
        "parents": [record_id],
        "record_id": record_id,
        "kind": "generated",
        "session_id": name,
    }
    row |= {"turn": 0, "history": [], "image": None, "question": f"{name}?", "answer": "Yes.", "title": "Title"}
    return row | {"context": f"A  chunk\nof {record_id}.", "reference": "Y"} | more


def test_made_questions_are_asked_with_the_chunk_or_of_what_was_trained_on_without_it() -> None:
    train, dev, test = (assigned(split)[0] for split in ("train", "dev", "test"))
    held_out = [
        question("new", train, fact_trained=True), question("dev", dev), question("test", test),
        question("old", test, kind="existing", context=""),
    ]  # fmt: skip
    write_jsonl(Path("questions.jsonl"), held_out)
    assert run(layout="prompt", held_out=["--held-out", "questions.jsonl"]) == 0
    rows = {row["id"]: row for name in ("eval", "test") for row in read_rows(Path(f"{name}.jsonl"))}
    assert ids("eval.jsonl") == ["dev"]
    assert ids("test.jsonl") == ["new", "test", "old"]
    kinds = {name: row["kind"] for name, row in rows.items()}
    assert kinds == {"new": "seen_document", "dev": "unseen_document", "test": "unseen_document", "old": "existing"}
    shown = {name: row["messages"][-2]["content"] for name, row in rows.items()}
    assert (shown["new"], shown["old"]) == ("new?", "old?")
    assert shown["test"] == f"[1] Title: A chunk of {test}.\n\nQuestion: test?"
    assert rows["new"]["fact_trained"] is True
    assert rows["new"]["reference"] == "Y"
    report = json.loads(Path("report.json").read_text())
    assert report["proof"]["groups_in_two_files"] == 0, "the seen documents' groups are meant to be in both"
    assert report["contamination"]["held_out"]["rows"] == 3
    counts = json.loads(Path("fold.meta.json").read_text())["counts"]
    assert counts["in"] == counts["kept"] == len(assigned("train")) + 4


def run_fold(
    fold: str,
    *,
    train_on: str = "own",
    rows: str = "synthetic.jsonl",
    layout: str = "prompt",
    method: str = "hash",
    held_out: Sequence[str] = (),
) -> int:
    settings = {
        "folds": {
            "names": ["DA", "DB"],
            "layout": layout,
            "system_prompt": "",
            "evidence": 2,
            **SCREEN,
            "train_on": train_on,
        },
        "student": None,
        "splits": {"method": method, "group_by": ["session"]},
    }
    files = ["--fold", fold, "--rows", rows, "--records", "reranked.jsonl", "--splits", "splits.jsonl"]
    files += ["--train", "train.jsonl", "--eval", "eval.jsonl", "--test", "test.jsonl", *held_out]
    files += [
        "--report",
        "report.json",
        "--dropped",
        "train.dropped.jsonl",
        "--meta",
        "fold.meta.json",
        "--settings",
        json.dumps(settings),
    ]
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


def test_a_document_that_one_fold_trains_on_is_unseen_in_the_other() -> None:
    several()
    asked = [question("new", "a:1", fact_trained=True), question("c", "c:1"), question("e", "e:1")]
    write_jsonl(Path("questions.jsonl"), asked)
    found = {}
    for fold in ("DA", "DB"):
        assert run_fold(fold, held_out=["--held-out", "questions.jsonl"]) == 0
        found[fold] = {row["id"]: row for row in read_rows(Path("test.jsonl"))}
    kinds = {fold: {name: row["kind"] for name, row in rows.items()} for fold, rows in found.items()}
    assert kinds == {
        "DA": {"new": "seen_document", "e": "unseen_document"},
        "DB": {"new": "unseen_document", "c": "unseen_document"},
    }
    assert found["DA"]["new"]["fact_trained"] is True
    assert "fact_trained" not in found["DB"]["new"], "nothing of it was trained on there"
    assert "A chunk of a:1." in found["DB"]["new"]["messages"][-2]["content"]


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


NEAR = {"threshold": 0.8, "shingle_words": 5, "least_words": 0}


def screened(pictured: bool = False, tasks: Sequence[str] = (), **changes: Any) -> int:
    """Run over examples of which two are alike, two are equal, and one repeats a test record's answer.

    Where they are pictured, each stands beside an image of its own; tasks are those of the two that are like others.
    """
    records = list(read_rows(Path("reranked.jsonl")))
    for row in records:
        row["answer"] = text_of(row["id"])
    examples = [row | {"record_id": row["id"], "kind": "synthetic"} for row in records if row["session_id"] in "ab"]
    for number, row in enumerate(examples):
        row["id"] = f"x{number}"
    examples[2]["question"], examples[2]["answer"] = examples[0]["question"], changed(examples[0]["answer"])
    examples[3]["question"], examples[3]["answer"] = examples[1]["question"], examples[1]["answer"]
    for row in examples if pictured else []:
        row["image"] = {"path": f"{row['id']}.png", "sha256": row["id"]}
    for row, task in zip(examples[2:], tasks, strict=False):
        row["kind"] = task
    leaked = next(row for row in records if row["id"] == "d:2")["answer"]
    examples[5]["answer"] = " ".join([*text_of("own").split()[:30], *leaked.split()[10:25]])
    write_jsonl(Path("reranked.jsonl"), records)
    write_jsonl(Path("synthetic.jsonl"), examples)
    return run(**changes)


def test_what_is_said_of_different_images_is_no_repetition() -> None:
    assert screened(pictured=True, duplicates=NEAR) == 0
    assert ids("train.jsonl") == ["x0", "x1", "x2", "x3", "x4", "x5"]


def test_what_is_said_for_different_tasks_is_no_repetition() -> None:
    assert screened(tasks=["search_query", "passage_choice"], duplicates=NEAR) == 0
    assert ids("train.jsonl") == ["x0", "x1", "x2", "x3", "x4", "x5"]


def test_the_first_of_alike_examples_wins_and_losers_are_listed() -> None:
    assert screened(duplicates=NEAR) == 0
    assert ids("train.jsonl") == ["x0", "x1", "x4", "x5"]
    near, equal = read_rows(Path("train.dropped.jsonl"))
    assert (near["id"], near["record_id"], near["reason"], near["winner"]) == ("x2", "a:3", "near_duplicate", "x0")
    assert 0.8 < near["jaccard"] < 1
    found = {key: equal[key] for key in ("id", "reason", "winner", "jaccard")}
    assert found == {"id": "x3", "reason": "duplicate", "winner": "x1", "jaccard": 1.0}
    counts = json.loads(Path("fold.meta.json").read_text())["counts"]
    assert counts == {"in": 15, "kept": 13, "dropped": {"duplicate": 1, "near_duplicate": 1}, "quarantined": 0}


def test_contamination_is_reported_and_dropped_on_request_only() -> None:
    assert screened() == 0
    assert len(ids("train.jsonl")) == 6
    found = json.loads(Path("report.json").read_text())["contamination"]
    assert (found["train_rows_sharing_a_run"], found["dropped"]) == (1, 0)
    assert (found["first"][0]["id"], found["first"][0]["held_out"]) == ("x5", "test:d:2")
    assert screened(contamination="drop") == 0
    assert ids("train.jsonl") == ["x0", "x1", "x2", "x3", "x4"]
    (dropped,) = read_rows(Path("train.dropped.jsonl"))
    assert (dropped["id"], dropped["reason"]) == ("x5", "contaminated")


def test_a_named_benchmark_is_held_out_too() -> None:
    Path("bench.jsonl").write_text(json.dumps({"q": text_of("b:2"), "n": 1}) + "\n")
    assert screened(contamination="drop", benchmarks=["bench.jsonl"]) == 0
    report = json.loads(Path("report.json").read_text())["contamination"]
    assert {row["held_out"] for row in report["first"]} == {"test:d:2", "bench.jsonl:1"}
    assert report["held_out"]["by_source"]["bench.jsonl"] == 1


def test_k_folds_train_on_the_others_and_withheld_records_are_nowhere() -> None:
    several()
    splits = [row | ({"split": "withheld"} if row["id"] == "a:3" else {}) for row in read_rows(Path("splits.jsonl"))]
    for row in splits:
        if row["split"] == "withheld":
            row["group"], row["reason"] = "apart", "it would join two"
            del row["fold"]
    examples = [row for row in read_rows(Path("synthetic.jsonl")) if row["record_id"] != "a:3"]
    write_jsonl(Path("splits.jsonl"), splits)
    write_jsonl(Path("synthetic.jsonl"), examples)
    assert run_fold("DA", train_on="others") == 0
    assert ids("train.jsonl") == [f"{name}#0" for name in of("b", "d", turns=(1, 3))]
    assert ids("eval.jsonl") == of("e")
    assert ids("test.jsonl") == ["a:1", "a:2", *of("c")]
    report = json.loads(Path("report.json").read_text())
    assert list(report["withheld"]) == ["a:3"]
    assert report["proof"]["withheld"] == 1


def test_the_card_shows_what_the_fold_holds() -> None:
    records = [row | {"origin": {"file": "<b>|evil.jsonl"}} for row in read_rows(Path("reranked.jsonl"))]
    examples = [
        row | {"scores": {"overall": 6 + number}} for number, row in enumerate(read_rows(Path("synthetic.jsonl")))
    ]
    examples[0]["question"] = "```\n# no heading\x1b[31m"
    write_jsonl(Path("records.jsonl"), records)
    write_jsonl(Path("synthetic.jsonl"), examples)
    assert run() == 0
    settings = {"description": "What it is", "source": {"licence": "CC0", "citation": None}}
    files = [part for name in ("train", "eval", "test") for part in (f"--{name}", f"{name}.jsonl")]
    files += ["--report", "report.json", "--records", "records.jsonl", "--out", "card.md", "--meta", "card.meta.json"]
    assert describe_fold.main([*files, "--settings", json.dumps(settings)]) == 0
    card = Path("card.md").read_text()
    assert "| train | 6 | 6 | 2 | synthetic 6 |" in card
    assert "| test | 6 | 6 | 2 | original 6 |" in card
    assert "| train | overall | 6 | 8.50 | 6 | 6 | 8 | 11 | 11 |" in card
    assert r"| \<b\>\|evil.jsonl | 6 | 3 | 6 |" in card
    assert "Licence of the original records: CC0." in card
    assert "\x1b" not in card
    assert [line for line in card.splitlines() if line.startswith(("# ", "```"))] == ["# Data card of fold fold0"]
