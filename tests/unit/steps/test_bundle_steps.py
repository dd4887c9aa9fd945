"""From ranked passages to bundles, folds, conditions, grades, scores: the scripts as the rules call them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.passages import read_passages
from finetrail.rows.records import Row, write_jsonl
from ingest.readers.hotpotqa import read_records

DATA = Path(__file__).parents[3] / "data/hotpotqa"
Run = Callable[..., "subprocess.CompletedProcess[str]"]
FOLDS = {
    "names": ["fold0"], "train_on": "own", "duplicates": None, "benchmarks": [], "contamination": "report",
    "layout": "bundle", "system_prompt": "", "evidence": 4, "evidence_words": 400,
}  # fmt: skip
SYNTHESIZE = {"kind": "bundles", "epochs": 3, "gold_epochs": 2, "hard_negatives": 2, "refuse_missing": 1.0, "seed": 7}


@pytest.fixture
def ranked(folder: Path) -> list[Row]:
    """Ten dev questions, six of them train here, with BM25's candidates as all rankings."""
    lines = (DATA / "dev_40.jsonl").read_text(encoding="utf-8").splitlines()[:10]
    source = folder / "rows.jsonl"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    passages = list(read_passages([source], []))
    write_jsonl(folder / "passages.jsonl", passages)
    index = BM25Index.build(passages, k1=0.9, b=0.4)
    rows: list[Row] = []
    for record in read_records([source], images_root=None):
        (hits,) = index.search([record["question"]], 20)
        found = [{"passage_id": hit.passage_id, "score": hit.score} for hit in hits]
        candidates = [one | {"rank": rank, "source": "bm25"} for rank, one in enumerate(found, start=1)]
        chunks = [one | {"rank": rank, "start": 0, "end": 1} for rank, one in enumerate(found[:6], start=1)]
        rows.append(record | {"queries": [], "calls": [], "candidates": candidates, "chunks": chunks})
    write_jsonl(folder / "reranked.jsonl", rows)
    kinds = ["train"] * 6 + ["dev"] * 2 + ["test"] * 2
    splits = [
        {"id": row["id"], "group": row["id"], "split": kind, "reason": ""}
        for row, kind in zip(rows, kinds, strict=True)
    ]
    write_jsonl(folder / "splits.jsonl", splits)
    return rows


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def call(run_script: Run, script: str, settings: dict[str, Any], *arguments: str) -> None:
    done = run_script(script, *arguments, "--settings", json.dumps(settings), "--meta", f"{Path(script).stem}.json")
    assert done.returncode == 0, done.stderr


def test_from_ranked_passages_to_scores(folder: Path, ranked: list[Row], run_script: Run) -> None:
    shared = ("--passages", "passages.jsonl", "--splits", "splits.jsonl")
    settings = {"synthesize": SYNTHESIZE, "folds": FOLDS}
    out = ("--out", "synthetic.jsonl", "--dropped", "dropped.jsonl")
    call(run_script, "synthesize/make_bundles.py", settings, "--rows", "reranked.jsonl", *shared, *out)
    bundles = read(folder / "synthetic.jsonl")
    assert [row["epoch"] for row in bundles] == [1] * 6 + [2] * 6 + [3] * 6
    assert {"question", "passages", "target", "supporting_facts"} <= bundles[0].keys()
    orders = [[row["record_id"] for row in bundles if row["epoch"] == epoch] for epoch in (1, 2, 3)]
    assert len({tuple(order) for order in orders}) > 1 and len({frozenset(order) for order in orders}) == 1
    answers = {row["id"]: row["answer"] for row in ranked}
    shown = {(row["record_id"], passage["passage_id"]) for row in bundles for passage in row["passages"]}
    listed = {(row["record_id"], row["passage_id"]) for row in read(folder / "dropped.jsonl")}
    assert listed and not listed & shown
    assert all(row["answer"] == answers[row["record_id"]] for row in read(folder / "dropped.jsonl"))

    files = [part for name in ("train", "eval", "test") for part in (f"--{name}", f"{name}.jsonl")]
    files += ["--dropped", "left.jsonl", "--report", "report.json", "--records", "reranked.jsonl"]
    settings = {"folds": FOLDS, "student": None, "splits": {"method": "hash", "group_by": []}}
    call(run_script, "folds/make_folds.py", settings, "--rows", "synthetic.jsonl", *shared, *files)
    train, test = read(folder / "train.jsonl"), read(folder / "test.jsonl")
    assert [row["id"] for row in train] == [row["id"] for row in bundles], "the order of training is kept"
    for row, made in zip(train, bundles, strict=True):
        assert row["messages"][-1]["content"] == made["target"]
        assert row["messages"][-2]["content"].endswith("<answer>")
    assert len(test) == 2 and all(len(row["evidence"]) <= 4 for row in test)

    settings = {"evaluate": {"distractors": [0, 2], "seed": 42}}
    arguments = ("--test", "test.jsonl", "--rows", "reranked.jsonl", "--passages", "passages.jsonl")
    call(run_script, "evaluate/ask_with_bounds.py", settings, *arguments, "--out", "asked.jsonl")
    asked = read(folder / "asked.jsonl")
    assert [row["condition"] for row in asked] == ["retrieved", "closed_book", "gold_0", "gold_2"] * 2
    assert [len(row["evidence"]) for row in asked[1:4]] == [0, 2, 4]
    assert all("[1." in row["messages"][-1]["content"] for row in asked if row["condition"] == "gold_0")

    for name in ("generator", "base"):
        (folder / name).mkdir()
        replies = [
            {
                "id": row["id"], "parents": row["parents"], "group": row["group"], "session_id": row["session_id"],
                "turn": 0, "loss": {"nats": 1.0, "tokens": 2},
                "answer": row["messages"][-1]["content"] if name == "generator" else "insufficient context",
            }
            for row in asked
        ]  # fmt: skip
        write_jsonl(folder / name / "fold0.jsonl", replies)
        arguments = ("--rows", f"{name}/fold0.jsonl", "--asked", "asked.jsonl", "--out", f"{name}/fold0.judged.jsonl")
        call(run_script, "evaluate/grade_hops.py", {}, *arguments, "--official", f"{name}/official.json")
    settings = {"evaluate": {"metric": "hops", "resamples": 100, "seed": 1}}
    arguments = ("--tuned", "generator/fold0.judged.jsonl", "--controls", "base/fold0.judged.jsonl", "--seeds", "42")
    call(run_script, "evaluate/score_answers.py", settings, *arguments, "--out", "metrics.json")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["comparisons"]["answer_f1"]["differences"]["base"]["estimate"] == 1.0
    gold = metrics["hop_scores"]["generator"]["gold_0"]
    assert (gold["em"], gold["sp_em"], gold["joint_em"], gold["supported_answers"]) == (1, 1, 1, 1)
    assert metrics["hop_scores"]["base"]["gold_0"]["refusals"] == {"right": 0, "wrong": 2, "missed": 0}
    official = json.loads((folder / "generator/official.json").read_text(encoding="utf-8"))
    assert official["answer"] == {row["session_id"]: row["answer"] for row in test}
