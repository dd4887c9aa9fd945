"""The whole recipe with charts, as small as it can be: from text products to the page that compares models."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workspace import Workspace

RESULTS = "results/tutorial/weatherqa"
MODELS = ("uniform", "summary_centric", "phased")


def read(workspace: Workspace, name: str) -> Any:
    return json.loads((workspace.root / RESULTS / name).read_text(encoding="utf-8"))


@pytest.mark.long
def test_from_discussions_and_charts_to_a_page(fresh: Workspace, tmp_path: Path) -> None:
    workspace = fresh.copy(tmp_path / "project")
    workspace.config = ["scale=tutorial", "recipes=[weatherqa]"]
    workspace.configfiles = ("tests/chain/mini_weatherqa.yaml",)
    workspace.snakemake("all")
    folder = workspace.root / RESULTS
    page = (folder / "comparison/fold0/index.html").read_text(encoding="utf-8")
    assert page.count("<article") == 6 and all(name in page for name in ("base", "uniform", "summary_centric"))
    for model in MODELS:
        metrics = read(workspace, f"metrics/{model}/fold0.json")
        assert set(metrics["comparisons"]["summary_cosine"]["differences"]) == {
            "base", "frequent", "nearest", "class_name",
        }  # fmt: skip
        assert metrics["right_image_beats_another"][model]["caption"]["pairs"] > 0
        drawn = read(workspace, f"models/{model}/fold0.meta.json")["drawn"]
        log = [json.loads(line) for line in (folder / f"models/{model}/fold0/training_log.jsonl").open()]
        assert sum(len(row["rows"]) for row in log if "rows" in row) == sum(sum(phase.values()) for phase in drawn)
        targets = read(workspace, f"plots/{model}/fold0.targets.json")
        assert set(targets) == {"caption", "summary", "link", "text_summary"}
        assert metrics["judge"]["rests_on_offline_teacher"] and "caption_judged_overall" in metrics["comparisons"]
        parity = read(workspace, f"ollama/{model}/fold0/parity.json")
        assert parity["verdict"] == "pass" and len(parity["conversations"]) == 8
        assert "# weatherqa" in (folder / f"models/{model}/fold0/final_adapter/README.md").read_text()
    assert "Nothing to be done" in workspace.snakemake("all")
