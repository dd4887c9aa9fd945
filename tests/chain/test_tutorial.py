"""The tutorial of the main recipe as `make run` runs it: what it leaves, and what its figures show."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workspace import RESULTS, Workspace

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def tutorial(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = fresh.copy(tmp_path_factory.mktemp("tutorial") / "project")
    workspace.configfiles = ()
    workspace.snakemake("all")
    return workspace


def read(workspace: Workspace, path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((workspace.root / RESULTS / path).read_text())
    return content


def test_the_exported_model_answers_as_the_trained_one(tutorial: Workspace) -> None:
    folder = tutorial.root / RESULTS / "ollama/lora/fold0"
    assert {"model.gguf", "Modelfile", "parity.json"} <= {path.name for path in folder.iterdir()}
    parity = read(tutorial, "ollama/lora/fold0/parity.json")
    assert parity["verdict"] == "pass"
    assert parity["token_ids_equal"] is True
    assert parity["max_log_prob_difference"] <= 1e-3


@pytest.mark.parametrize("other", ["base", "trivial", "lora_shuffled"])
def test_tuning_lowers_the_held_out_loss(tutorial: Workspace, other: str) -> None:
    comparison = read(tutorial, "metrics/lora/fold0.json")["comparisons"]["held_out_loss"]
    assert comparison["rests_on"] == "gold answers"
    assert comparison["differences"][other]["high"] < 0


def test_again_there_is_nothing_to_be_done(tutorial: Workspace) -> None:
    assert "Nothing to be done" in tutorial.snakemake("all")


def test_no_file_is_left_half_written(tutorial: Workspace) -> None:
    results: Path = tutorial.root / RESULTS
    assert [path for path in results.rglob("*") if path.suffix in {".part", ".tmp"} or ".training" in path.name] == []
