"""From candidates to the report on the rankings: the scripts as the rules call them, the retriever beside BM25."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluate.score_ranking import rankings
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.passages import read_passages
from finetrail.retrieval.postings import count_words
from finetrail.rows.artifacts import MANIFEST_NAME, write_manifest
from finetrail.rows.records import Row, unit_interval, write_jsonl
from ingest.readers.hotpotqa import read_records

DATA = Path(__file__).parents[3] / "data/hotpotqa"
Run = Callable[..., "subprocess.CompletedProcess[str]"]
RECALL: dict[str, Any] = {"backend": "dense", "top_k": 30, "k1": 0.9, "b": 0.4}
SETTINGS = {
    "recall": RECALL,
    "rerank": {"keep_chunks": 5, "train": {"folds": 2, "seed": 1}},
    "evaluate": {"resamples": 100, "seed": 1},
}


@pytest.fixture
def passages(folder: Path) -> list[Row]:
    """Fifteen questions, five of them tests, with candidates in an order that only chance and gold decide."""
    (folder / "rows.jsonl").write_text("\n".join((DATA / "dev_40.jsonl").read_text().splitlines()[:15]) + "\n")
    made = list(read_passages([folder / "rows.jsonl"], []))
    write_jsonl(folder / "passages.jsonl", made)
    (folder / "words").mkdir()
    count_words(made).save(folder / "words")
    write_manifest(folder / "words", folder / "words" / MANIFEST_NAME, {"kind": "words"})
    rows, splits, scores = [], [], []
    for number, record in enumerate(read_records([folder / "rows.jsonl"], images_root=None)):
        gold = {title for title, _ in record["hops"]["supporting_facts"]}
        liked = {p["id"]: round(unit_interval(record["id"], p["id"]) + (p["title"] in gold), 4) for p in made}
        best = sorted(liked, key=lambda name: (-liked[name], name))[: RECALL["top_k"]]
        found = [
            {"passage_id": name, "rank": rank, "score": liked[name], "source": "dense"}
            for rank, name in enumerate(best, start=1)
        ]
        rows.append(record | {"queries": [], "calls": [], "candidates": found})
        split = "test" if number >= 10 else "train"
        splits.append({"id": record["id"], "group": record["id"], "split": split, "reason": ""})
        judged = [unit_interval("cross", record["id"], name) for name in best]
        scores.append({"id": record["id"], "scores": judged} | ({"before": judged} if split == "test" else {}))
    write_jsonl(folder / "recall.jsonl", rows)
    write_jsonl(folder / "splits.jsonl", splits)
    write_jsonl(folder / "pair_scores.jsonl", scores)
    return made


def call(run_script: Run, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    shared = ("--passages", "passages.jsonl", "--splits", "splits.jsonl", "--settings", json.dumps(SETTINGS))
    return run_script(script, *arguments, *shared, "--meta", f"{Path(script).stem}.json")


def rank(run_script: Run) -> "subprocess.CompletedProcess[str]":
    inputs = ("--rows", "recall.jsonl", "--scores", "pair_scores.jsonl", "--words", "words/manifest.json")
    return call(run_script, "recall/rank_candidates.py", *inputs, "--out", "reranked.jsonl", "--weights", "fusion.json")


@pytest.mark.heavy
def test_the_retriever_is_reported_beside_bm25(folder: Path, passages: list[Row], run_script: Run) -> None:
    done = rank(run_script)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "reranked.jsonl").read_text().splitlines()]
    index = BM25Index.build(passages, k1=RECALL["k1"], b=RECALL["b"])
    for row, hits in zip(rows, index.search([row["question"] for row in rows], len(passages)), strict=True):
        known = {hit.passage_id: hit.score for hit in hits}
        assert all(one["bm25"] == known.get(one["passage_id"], 0.0) for one in row["candidates"])
        best = sorted(row["candidates"], key=lambda one: (-one["fused"], one["passage_id"]))[:5]
        assert [chunk["passage_id"] for chunk in row["chunks"]] == [one["passage_id"] for one in best]
    assert [row["by_words"] for row in rows[10:]] == [
        [hit.passage_id for hit in hits] for hits in index.search([row["question"] for row in rows[10:]], 30)
    ]
    assert all("by_words" not in row for row in rows[:10])

    out = ("--out", "ranking.json", "--picture", "recall.svg")
    done = call(run_script, "evaluate/score_ranking.py", "--rows", "reranked.jsonl", *out)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads((folder / "ranking.json").read_text())
    compared = report["comparisons"]["recall_retrieved"]
    assert compared["units"] == 5 and list(compared["models"]) == ["dense", "bm25", "rrf"]
    assert compared["models"]["dense"]["estimate"] == 1.0
    for table in report["rankings"].values():
        assert {"dense", "bm25", "rrf", "cross_encoder", "cross_encoder_untrained", "fused"} == set(table)
        assert list(table["dense"]["recall"]) == ["1", "2", "5", "10", "20", "30"]
    assert "<svg" in (folder / "recall.svg").read_text()


def test_an_index_that_was_not_made_to_its_end_is_named(folder: Path, passages: list[Row], run_script: Run) -> None:
    (folder / "words" / MANIFEST_NAME).unlink()
    done = rank(run_script)
    assert done.returncode == 1 and "words/manifest.json" in done.stderr and "Traceback" not in done.stderr


def test_a_hybrid_is_not_fused_with_bm25_once_more() -> None:
    candidates = [
        {"passage_id": name, "rank": place, "untrained": 0.0, "cross_encoder": 0.0, "fused": float(place)}
        for place, name in enumerate("ab", start=1)
    ]
    assert set(rankings(candidates, ["b"], "dense")) - set(rankings(candidates, ["b"], "hybrid")) == {"dense", "rrf"}
    alone = rankings(candidates, ["a", "b"], "bm25")
    assert set(alone) == {"bm25", "cross_encoder", "cross_encoder_untrained", "fused"}
