"""The tutorial of `cal` as `make run RECIPE=cal` runs it: both kinds of model on both folds, and what they show."""

import json
from pathlib import Path

import pytest

from tests.workspace import Workspace

pytestmark = pytest.mark.long
MODELS = [(model, fold) for model in ("qlora", "full") for fold in ("DA", "DB")]


@pytest.fixture(scope="module")
def results(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = fresh.copy(tmp_path_factory.mktemp("cal_tutorial") / "project")
    workspace.config = ["scale=tutorial", "recipes=[cal]"]
    workspace.configfiles = ()
    workspace.snakemake("all")
    return workspace.root / "results/tutorial/cal"


@pytest.mark.parametrize(("model", "fold"), MODELS)
def test_the_published_artifacts_and_their_export_are_there(results: Path, model: str, fold: str) -> None:
    folder = results / "models" / model / fold
    wanted = {"final_adapter", "final_merged_checkpoint"} if model == "qlora" else {"final_checkpoint"}
    assert wanted <= {path.name for path in folder.iterdir()}
    assert json.loads((results / f"ollama/{model}/{fold}/parity.json").read_text())["verdict"] == "pass"


@pytest.mark.parametrize("other", ["base", "shuffled"])
@pytest.mark.parametrize(("model", "fold"), MODELS)
def test_the_tuned_model_finds_the_right_option_likelier(results: Path, model: str, fold: str, other: str) -> None:
    metrics = json.loads((results / f"metrics/{model}/{fold}.json").read_text())
    compared = metrics["comparisons"]["likeliest_accuracy"]
    control = "base" if other == "base" else f"{model}_shuffled"
    assert compared["differences"][control]["low"] > 0
