"""The tutorial of `weatherqa` as `make run RECIPE=weatherqa` runs it: losses fall, and the tuned model looks."""

import json
from collections import defaultdict
from typing import Any

import pytest

from tests.workspace import Workspace, copy_project

pytestmark = pytest.mark.long
RESULTS = "results/tutorial/weatherqa"
SCHEDULES = ("uniform", "summary_centric", "phased")


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = copy_project(tmp_path_factory.mktemp("weather") / "project")
    workspace.configfiles = ()
    workspace.config += ["recipes=[weatherqa]"]
    workspace.snakemake("all")
    return workspace


def rows(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workspace.root / RESULTS / name).read_text().splitlines()]


@pytest.mark.parametrize("kind", ["caption", "all"])
@pytest.mark.parametrize("schedule", ["uniform", "summary_centric"])
def test_texts_are_likelier_behind_the_right_image_for_the_tuned_model_alone(
    tutorial: Workspace, schedule: str, kind: str
) -> None:
    metrics = json.loads((tutorial.root / RESULTS / f"metrics/{schedule}/fold0.json").read_text())
    looks = {name: kinds[kind] for name, kinds in metrics["right_image_beats_another"].items()}
    assert looks[schedule]["estimate"] >= 0.65
    assert looks[schedule]["low"] > 0.5
    assert 0.4 <= looks["base"]["estimate"] <= 0.6


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_loss_of_every_task_falls(tutorial: Workspace, schedule: str) -> None:
    kinds = {row["id"]: row["kind"] for row in rows(tutorial, "folds/fold0/train.jsonl")}
    losses: dict[str, list[float]] = defaultdict(list)
    for step in rows(tutorial, f"models/{schedule}/fold0/training_log.jsonl"):
        for name, loss in zip(step.get("rows", ()), step.get("row_losses", ()), strict=True):
            losses[kinds[name]].append(loss)
    assert len(losses) >= 3
    for kind, seen in losses.items():
        quarter = max(1, len(seen) // 4)
        assert sum(seen[-quarter:]) < sum(seen[:quarter]), (schedule, kind)
