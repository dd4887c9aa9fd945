"""Recipes that leave phases out: choices with a teacher, in two folds, and finished examples that stay as they are."""

import json
import random
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.workspace import Workspace

FOLDS = ("DA", "DB")
DATA = {
    "ingest_records": 1, "make_splits": 1, "write_reasoning": 1, "match_answers": 1, "make_folds": 2,
}  # fmt: skip
FINISHED = """\
description: Finished examples
source: {format: responses, files: [finished.jsonl], licence: MIT}
splits: {method: shuffle, train: 1.0, dev: 0.0, test: 0.0, group_by: [prompt]}
folds: {names: [DA, DB], layout: prompt}
"""


@pytest.fixture(scope="module")
def cal(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The data side has run."""
    workspace = fresh.copy(tmp_path_factory.mktemp("cal") / "project")
    workspace.config = ["scale=tutorial", "recipes=[cal]"]
    workspace.configfiles = ("tests/chain/mini_cal.yaml",)
    workspace.made = workspace.executed("data")
    return workspace


def rows(workspace: Workspace, name: str, recipe: str = "tutorial/cal") -> list[dict[str, Any]]:
    path = workspace.root / "results" / recipe / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read(workspace: Workspace, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((workspace.root / "results/tutorial/cal" / name).read_text())
    return content


def test_the_data_side_has_the_named_phases_only_and_a_second_run_makes_nothing(cal: Workspace) -> None:
    assert cal.made == DATA
    assert cal.executed("data") == {}


def test_each_fold_is_tested_on_all_original_prompts_of_the_other(cal: Workspace) -> None:
    homes = {row["id"]: (row["fold"], row["split"]) for row in rows(cal, "splits.jsonl")}
    original = {row["id"]: row for row in rows(cal, "records.jsonl")}
    answered = {row["record_id"] for row in rows(cal, "synthetic.jsonl")}
    groups: dict[str, set[str]] = {}
    for fold in FOLDS:
        train, dev, test = (rows(cal, f"folds/{fold}/{name}.jsonl") for name in ("train", "eval", "test"))
        assert {homes[row["record_id"]] for row in train} == {(fold, "train")}
        assert {row["id"] for row in dev} == {name for name, home in homes.items() if home == (fold, "dev")}
        assert {row["id"] for row in test} == {name for name, home in homes.items() if home[0] != fold}
        assert {row["id"] for row in test} - answered, "prompts whose teacher answer was dropped are among the tests"
        assert all(row["question"] == original[row["id"]]["question"] for row in (*dev, *test))
        groups[fold] = {row["group"] for row in (*train, *dev)}
        assert groups[fold].isdisjoint(row["group"] for row in test)


def test_what_is_kept_equals_the_key_and_what_is_not_is_listed(cal: Workspace) -> None:
    replies, kept, dropped = (rows(cal, f"{name}.jsonl") for name in ("replies", "synthetic", "synthetic.dropped"))
    trained = {row["id"] for row in rows(cal, "splits.jsonl") if row["split"] == "train"}
    assert {row["record_id"] for row in replies} == trained
    assert len(replies) == len(kept) + len(dropped) and len(dropped) > 0
    assert {row["parents"][0] for row in kept} | {row["id"] for row in dropped} == {row["id"] for row in replies}
    assert read(cal, "synthetic.meta.json")["counts"]["dropped"] == dict(
        sorted(Counter(row["reason"] for row in dropped).items())
    )
    for row in kept:
        letter, _, text = row["answer"].rpartition("\n\nAnswer: ")[2].partition(": ")
        assert text == row["choice"]["options"][row["choice"]["key"]]
        assert f"{letter}: {text}" in row["question"].splitlines()


def test_options_change_their_order_in_training(cal: Workspace) -> None:
    original = {row["id"]: row for row in rows(cal, "records.jsonl")}
    replies = rows(cal, "replies.jsonl")
    moved = [row for row in replies if row["question"] != original[row["record_id"]]["question"]]
    assert len(moved) > len(replies) / 2
    assert all(
        sorted(row["choice"]["options"]) == sorted(original[row["record_id"]]["choice"]["options"]) for row in moved
    )


def test_another_count_of_shards_asks_nothing_and_makes_the_same_bytes(cal: Workspace, tmp_path: Path) -> None:
    workspace = cal.copy(tmp_path / "project")
    names = ("replies.jsonl", "synthetic.jsonl", "folds/DA/train.jsonl", "folds/DB/test.jsonl")
    made = [(workspace.root / "results/tutorial/cal" / name).read_bytes() for name in names]
    said = {name: read(workspace, "replies.meta.json")[name] for name in ("counts", "replies")}
    for count in (3, 1):
        jobs = workspace.executed("data", config=(f"overrides={{cal: {{synthesize: {{shards: {count}}}}}}}",))
        assert jobs == {"write_reasoning": count + 1 if count > 1 else 1, "match_answers": 1, "make_folds": 2}
        assert [(workspace.root / "results/tutorial/cal" / name).read_bytes() for name in names] == made
        meta = read(workspace, "replies.meta.json")
        assert meta["llm"]["calls_made"] == 0 and {name: meta[name] for name in said} == said
        assert len(meta.get("shards", [])) == (count if count > 1 else 0)


def test_the_published_draw_is_exact_and_says_what_straddles(cal: Workspace, tmp_path: Path) -> None:
    workspace = cal.copy(tmp_path / "project")
    published = "overrides={cal: {splits: {method: shuffle, train: 1.0, dev: 0.0, test: 0.0, seed: 42}}}"
    jobs = workspace.executed("data", config=(published,))
    assert jobs == {"make_splits": 1, "write_reasoning": 1, "match_answers": 1, "make_folds": 2}
    splits = rows(workspace, "splits.jsonl")
    order = [row["id"] for row in rows(workspace, "records.jsonl")]
    random.seed(42)
    random.shuffle(order)
    assert {row["id"] for row in splits if row["fold"] == "DA"} == set(order[:40])
    assert Counter(row["fold"] for row in splits) == {"DA": 40, "DB": 40}
    assert rows(workspace, "folds/DA/eval.jsonl") == []
    assert read(workspace, "folds/DA/report.json")["proof"]["straddling"] > 0


def test_finished_examples_enter_at_the_folds_and_are_never_modified(fresh: Workspace, tmp_path: Path) -> None:
    workspace = fresh.copy(tmp_path / "project")
    given = [
        {
            "prompt": f"  {number}. Who? \nA: Ann\nB: Unknown\n",
            "response": f"Reasoning: {number}\n\nAnswer: B: Unknown \n",
        }
        for number in range(21)
    ]
    source = workspace.root / "finished.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in given))
    before = source.read_bytes()
    (workspace.root / "config/recipes/finished.yaml").write_text(FINISHED)
    workspace.config, workspace.configfiles = ["recipes=[finished]", "scale=full"], ()
    printed = workspace.snakemake("all")
    assert "make_folds" in printed and "train_adapter" not in printed
    assert source.read_bytes() == before
    expected = [(row["prompt"], row["response"]) for row in given]
    random.seed(42)
    random.shuffle(expected)
    halves = {"DA": set(expected[:10]), "DB": set(expected[10:])}
    for fold, other in (FOLDS, FOLDS[::-1]):
        for name, half in (("train", halves[fold]), ("test", halves[other])):
            found = rows(workspace, f"folds/{fold}/{name}.jsonl", "finished")
            assert {(row["messages"][0]["content"], row["messages"][1]["content"]) for row in found} == half
            assert len(found) == len(half)
    files = json.loads((workspace.root / "results/finished/audit/files.json").read_text())
    made = {"ingest_records", "make_splits", "make_folds", "describe_fold"}
    assert {artifact["rule"] for artifact in files["artifacts"]} == made


@pytest.mark.long
def test_every_model_is_scored_on_the_other_fold_beside_its_controls(cal: Workspace, tmp_path: Path) -> None:
    workspace = cal.copy(tmp_path / "project")
    workspace.snakemake("all")
    models = [path.name for path in (workspace.root / "results/tutorial/cal/metrics").iterdir()]
    listed = {artifact["path"] for artifact in read(workspace, "audit/files.json")["artifacts"]}
    for model, fold in product(models, FOLDS):
        metrics = read(workspace, f"metrics/{model}/{fold}.json")
        tests = rows(workspace, f"folds/{fold}/test.jsonl")
        compared = metrics["comparisons"]["likeliest_accuracy"]
        assert compared["units"] == len(tests)
        assert set(compared["differences"]) == {"base", f"{model}_shuffled", "trivial"}
        assert compared["rests_on"] == "gold keys"
        ambiguous = metrics["comparisons"]["likeliest_accuracy_ambig"]
        assert ambiguous["models"]["trivial"]["estimate"] == 1.0
        assert set(metrics["choice_scores"]) == {model, "base", f"{model}_shuffled", "trivial"}
        for scores in metrics["choice_scores"].values():
            assert {"s_dis", "s_amb"} < set(scores["likeliest"]["bias"])
            assert scores["generated"]["questions"] == len(tests)
        assert f"results/tutorial/cal/ollama/{model}/{fold}/Modelfile" in listed
    assert "Nothing to be done" in workspace.snakemake("all")
