"""The tutorial of `crag_mm_images` as `make run RECIPE=crag_mm_images` runs it: the tuned model looks at the image."""

import json
from typing import Any

import pytest

from tests.workspace import Workspace, copy_project

pytestmark = pytest.mark.long
RESULTS = "results/tutorial/crag_mm_images"


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    workspace: Workspace = copy_project(tmp_path_factory.mktemp("images") / "project")
    workspace.configfiles = ()
    workspace.config += ["recipes=[crag_mm_images]"]
    workspace.snakemake("all")
    content: dict[str, Any] = json.loads((workspace.root / RESULTS / "metrics/lora/fold0.json").read_text())
    return content


def test_the_right_image_beats_another_one_for_the_tuned_model_alone(metrics: dict[str, Any]) -> None:
    looks = metrics["right_image_beats_another"]
    assert looks["lora"]["low"] >= 0.65
    assert 0.4 <= looks["base"]["estimate"] <= 0.6


def test_it_chooses_one_passage_by_itself(metrics: dict[str, Any]) -> None:
    lookups = metrics["lookups"]["lora"]
    assert lookups["chose"] == {"model": lookups["turns"]} and lookups["wrote_queries"] == lookups["turns"]
    assert lookups["mean_passages_shown"] < 1.5


@pytest.mark.parametrize("other", ["base", "trivial", "lora_shuffled"])
@pytest.mark.parametrize("score", ["truthfulness", "accuracy"])
def test_the_tuned_model_answers_better_than_its_controls(metrics: dict[str, Any], score: str, other: str) -> None:
    assert metrics["comparisons"][score]["differences"][other]["low"] > 0
