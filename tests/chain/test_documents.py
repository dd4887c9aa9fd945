"""From a folder of documents to scored and formatted questions: what reruns when, and that no call is made twice."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
    groups = {
        name: {row["group"] for row in rows(made, f"folds/fold0/{name}.jsonl")} for name in ("train", "eval", "test")
    }
    assert groups["train"].isdisjoint(groups["eval"] | groups["test"])


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
