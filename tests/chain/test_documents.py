"""From a folder of documents to scored and formatted questions: what reruns when, and that no call is made twice."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.calls.store import CallStore
from tests.workspace import Workspace

MADE = {
    "read_documents": 1, "chunk_documents": 1, "ingest_records": 1, "make_splits": 1, "generate_qa": 1, "combine_qa": 1,
    "validate_qa": 1, "report_validation": 1, "select_qa": 1, "format_qa": 2, "make_folds": 1,
}  # fmt: skip
FOLDER = "data/documents/files"


@pytest.fixture(scope="module")
def made(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The data side has run."""
    workspace = fresh.copy(tmp_path_factory.mktemp("documents") / "project")
    workspace.config = ["scale=tutorial", "recipes=[documents]"]
    workspace.configfiles = ("tests/chain/mini_documents.yaml",)
    workspace.made = workspace.executed("data")
    return workspace


def path(workspace: Workspace, name: str) -> Path:
    return workspace.root / "results/tutorial/documents" / name


def rows(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path(workspace, name).read_text(encoding="utf-8").splitlines()]


def paid(workspace: Workspace, step: str) -> int:
    calls: int = json.loads(path(workspace, f"{step}.meta.json").read_text())["llm"]["calls_made"]
    return calls


def test_the_data_side_is_made_once(made: Workspace) -> None:
    assert made.made == MADE
    assert made.executed("data") == {}


def test_every_file_chunk_and_quotation_is_accounted_for(made: Workspace) -> None:
    report = json.loads(path(made, "ingest_report.json").read_text())
    named = made.root / FOLDER
    files = [*(named / "usds_md").iterdir(), *(named / "noaa_txt").iterdir(), named / "encodings/empty.txt"]
    assert report["files"] == len(files) == report["read"] + 1
    texts = {row["id"]: row["text"] for row in rows(made, "documents.jsonl")}
    chunks = {row["id"]: row for row in rows(made, "chunks.jsonl")}
    assert all(row["text"] == texts[row["document"]][row["start"] : row["end"]] for row in chunks.values())
    train, held_out, dropped, written = (
        rows(made, f"{name}.jsonl") for name in ("training_data", "questions", "training_data.dropped", "qa")
    )
    pairs = [row for row in (*train, *held_out) if row["kind"] == "generated"]
    assert len(pairs) + len(dropped) == len(written)
    for row in pairs:
        start, end = row["support"]
        assert row["support_text"] == chunks[row["record_id"]]["text"][start:end] != ""


def test_train_is_scored_and_dev_and_test_are_left_as_they_are(made: Workspace) -> None:
    splits = {row["id"]: row["split"] for row in rows(made, "splits.jsonl")}
    validated = rows(made, "validated.jsonl")
    assert {splits[row["record_id"]] for row in validated} == {"train"}
    assert len(validated) == len(rows(made, "training_data.jsonl"))
    assert {row["id"] for row in rows(made, "questions.jsonl")} == {
        row["id"] for name in ("eval", "test") for row in rows(made, f"folds/fold0/{name}.jsonl")
    }
    train, *held_out = (rows(made, f"folds/fold0/{name}.jsonl") for name in ("train", "eval", "test"))
    asked = [row for file in held_out for row in file]
    new = [row for row in asked if row["kind"] == "seen_document"]
    trained = {row["group"] for row in train}
    assert trained.isdisjoint(row["group"] for row in asked if row["kind"] == "unseen_document")
    assert {splits[row["record_id"]] for row in new} == {"train"}
    assert {row["question"] for row in new}.isdisjoint(row["question"] for row in train)


def test_another_threshold_runs_formatting_and_what_follows_only(
    made: Workspace, copy_of: Callable[[Workspace], Workspace]
) -> None:
    workspace = copy_of(made)
    lower = ("overrides={documents: {synthesize: {threshold: 7.0}}}",)
    done = workspace.executed("data", config=lower)
    assert done.keys() <= {"select_qa", "format_qa", "make_folds"}
    assert {"select_qa", "format_qa"} <= done.keys()
    formatted = {name.name for name in path(workspace, "formatted").glob("*.jsonl")}
    assert formatted == {f"{form}_t{least}.jsonl" for form in ("alpaca", "mistral") for least in ("7.0", "8.0")}
    assert workspace.executed("results/tutorial/documents/formatted/sharegpt_t9.5.jsonl", config=lower) == {
        "format_qa": 1
    }


def test_one_more_document_makes_calls_for_its_chunks_only(
    made: Workspace, copy_of: Callable[[Workspace], Workspace]
) -> None:
    workspace = copy_of(made)
    known = {row["id"] for row in rows(workspace, "chunks.jsonl")}
    source = workspace.root / FOLDER / "18f_md/product__define__roadmap.md"
    shutil.copy(source, workspace.root / FOLDER / "usds_md/zz_new.md")
    workspace.executed("data")
    added = [row for row in rows(workspace, "chunks.jsonl") if row["id"] not in known]
    assert {row["file"] for row in added} == {"zz_new.md"}
    assert paid(workspace, "qa") == len(added)


def test_a_step_alone_builds_what_it_needs(fresh: Workspace, copy_of: Callable[[Workspace], Workspace]) -> None:
    workspace = copy_of(fresh)
    workspace.config = ["scale=tutorial", "recipes=[documents]"]
    workspace.configfiles = ("tests/chain/mini_documents.yaml",)
    assert workspace.executed("results/tutorial/documents/chunks.jsonl") == {"read_documents": 1, "chunk_documents": 1}


def stored(workspace: Workspace) -> int:
    """Count the answers that were paid for so far."""
    with CallStore(workspace.root / "results/tutorial/calls") as store:
        return sum(1 for _ in store.newest(1_000_000))


@pytest.mark.parametrize("step", ["generate_qa", "validate_qa"])
def test_a_killed_step_goes_on_and_repeats_no_stored_call(
    step: str, made: Workspace, copy_of: Callable[[Workspace], Workspace]
) -> None:
    workspace = copy_of(made)
    shutil.rmtree(workspace.root / "results/tutorial/calls")
    target, name = {"generate_qa": ("qa.jsonl", "qa"), "validate_qa": ("validated.jsonl", "validated")}[step]
    path(workspace, target).unlink()
    whole = paid(made, name)
    one_by_one = ("llm={endpoints: {offline: {kind: offline, max_concurrency: 1}}}",)
    before = workspace.runs()
    process = workspace.start(f"results/tutorial/documents/{target}", config=one_by_one)
    try:
        while process.poll() is None:
            jobs = [job for job in workspace.new_records(before) if job["rule"] == step and job["status"] == "running"]
            if jobs and any(file.stat().st_size for file in (workspace.root / "results/tutorial/calls").glob("*")):
                os.kill(jobs[0]["pid"], signal.SIGKILL)
                break
            time.sleep(0.005)
        printed, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode != 0, printed[-3000:]
    before_it = stored(workspace)
    assert 0 < before_it < whole
    workspace.executed(f"results/tutorial/documents/{target}")
    assert paid(workspace, name) == whole - before_it
    assert stored(workspace) == whole, "each call once"
    assert path(workspace, target).read_bytes() == path(made, target).read_bytes()


@pytest.fixture(scope="module")
def exported(made: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The whole chain has run."""
    workspace = made.copy(tmp_path_factory.mktemp("exported") / "project")
    workspace.made = workspace.executed("all")
    return workspace


@pytest.mark.long
def test_it_goes_on_to_ollama_and_a_second_run_makes_nothing(exported: Workspace) -> None:
    folder = path(exported, "ollama/lora/fold0")
    assert json.loads((folder / "parity.json").read_text())["verdict"] == "pass"
    modelfile = (folder / "Modelfile").read_text(encoding="utf-8")
    assert "[INST]" in modelfile and 'PARAMETER stop "</s>"' in modelfile
    compared = json.loads(path(exported, "metrics/lora/fold0.json").read_text())["comparisons"]
    for kind in ("seen_document", "unseen_document"):
        assert set(compared[f"f1_{kind}"]["differences"]) == {"base", "lora_shuffled", "trivial"}
    train, prompts = rows(exported, "folds/fold0/train.jsonl"), rows(exported, "prompts/mistral.jsonl")
    assert [row["id"] for row in prompts] == [row["id"] for row in train]
    assert exported.executed("all") == {}


@pytest.mark.long
def test_another_threshold_trains_anew_and_asks_nobody(
    exported: Workspace, copy_of: Callable[[Workspace], Workspace]
) -> None:
    workspace = copy_of(exported)
    calls = stored(workspace)
    done = workspace.executed("all", config=("overrides={documents: {synthesize: {threshold: 9.0}}}",))
    assert {"select_qa", "format_qa", "make_folds", "train_adapter", "check_parity"} <= done.keys()
    assert done.keys().isdisjoint({"read_documents", "generate_qa", "combine_qa", "validate_qa", "report_validation"})
    assert stored(workspace) == calls
