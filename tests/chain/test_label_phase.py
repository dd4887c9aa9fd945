"""The label phase at the size of the bundled data: 214 turns, up to 30 passages each, held to 696 labels of people."""

import json
from pathlib import Path

import pytest

from tests.workspace import RESULTS, Workspace, copy_project

# Every turn is a train record (two folds are tested on each other), and all 30 candidates are labelled one by one.
ALL = """overrides={crag_mm: {splits: {train: 1.0, dev: 0.0, test: 0.0}, folds: {names: [A, B]},
    rerank: {keep_passages: 30, keep_chunks: 30},
    label: {second: {endpoint: offline, model: offline-teacher-1}, scale: graded, decide: both}}}"""
PEOPLE = 696


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = copy_project(tmp_path_factory.mktemp("labels") / "project")
    workspace.configfiles = ()
    config = (" ".join(ALL.split()),)
    workspace.made = workspace.executed(f"{RESULTS}/relevant.jsonl", f"{RESULTS}/label_calibration.json", config=config)
    return workspace


@pytest.mark.long
def test_every_passage_of_every_turn_is_labelled_and_held_to_people(labelled: Workspace) -> None:
    rows = labelled.rows("relevant.jsonl")
    counts = [len(row["labels"]) for row in rows]
    # A short question ("what's that?") shares words with fewer passages, or with none.
    assert counts == [len(row["candidates"]) for row in rows]
    assert (len(counts), counts.count(30)) == (214, 204)
    assert all({"first", "second", "grade", "relevant"} <= label.keys() for row in rows for label in row["labels"])
    report = json.loads((labelled.root / RESULTS / "label_report.json").read_text())
    dropped = labelled.rows("relevant.dropped.jsonl")
    assert report["passages"]["in"] == sum(counts) == report["passages"]["kept"] + len(dropped)
    assert report["first_and_second_judge"]["agreed"] == 1.0, "it is the same teacher"
    assert report["listwise_and_pointwise"]["items"] == sum(counts)


@pytest.mark.long
def test_the_calibration_counts_every_label_of_people(labelled: Workspace) -> None:
    report = json.loads((labelled.root / RESULTS / "label_calibration.json").read_text())
    assert report["human"]["pairs"] + sum(report["pairs_not_used"].values()) == PEOPLE
    assert report["human"]["always_yes"]["accuracy"] == 0.780635  # 516 of 661, as the data say
    assert 0.65 < report["human"]["auc_of_score"] < 0.75, "TF-IDF of the query"
    assert Path(labelled.root / RESULTS / "calibration/pairs.dropped.jsonl").is_file()
