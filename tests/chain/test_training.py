"""A training that dies is retried by Snakemake and goes on from its checkpoints; a second model is trained whole."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]

STATE = Path("results/tutorial/state/crag_mm.lora.fold0")
STEPS = 40  # enough that some are left when the first checkpoint is seen
LONGER = f"overrides={{crag_mm: {{train: {{save_steps: 1, models: {{lora: {{max_steps: {STEPS}}}}}}}}}}}"
ADAPTER = f"{RESULTS}/models/lora/fold0/final_adapter/manifest.json"


def running_job(workspace: Workspace, before: set[str]) -> dict[str, Any] | None:
    records = [record for record in workspace.new_records(before) if record["rule"] == "train_adapter"]
    return next((record for record in records if record["status"] == "running"), None)


def attempts(workspace: Workspace) -> list[dict[str, Any]]:
    (path,) = [path for path in (workspace.root / STATE).glob("*/attempts.jsonl") if f"{STEPS}" in _choices(path)]
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["attempt"], {}).update(row)
    return list(rows.values())


def _choices(path: Path) -> str:
    """What names the longer training among the state directories: a checkpoint's number of steps."""
    states = sorted(path.parent.glob("checkpoint-*/trainer_state.json"))
    return str(json.loads(states[-1].read_text())["max_steps"]) if states else ""


def test_a_killed_training_is_retried_from_its_checkpoints(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    before, known = workspace.runs(), {*(workspace.root / STATE).glob("*/checkpoint-*")}
    process = workspace.start(ADAPTER, config=(LONGER,))
    try:
        while process.poll() is None:
            new = {path.parent for path in (workspace.root / STATE).glob("*/checkpoint-*/complete.json")} - known
            job = running_job(workspace, before)
            if new and job is not None:
                os.kill(job["pid"], signal.SIGKILL)
                break
            time.sleep(0.05)
        printed, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, printed[-4000:]
    assert "Trying to restart job" in printed
    first, second = attempts(workspace)
    assert first["from_step"] == 0 and "outcome" not in first
    assert 0 < second["from_step"] < STEPS and second["outcome"] == "finished" and second["to_step"] == STEPS
    rows = (workspace.root / RESULTS / "models/lora/fold0/training_log.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [*range(1, STEPS + 1)]
    meta = workspace.meta("models/lora/fold0.meta.json")
    assert meta["origins"]["train.models.lora.max_steps"].startswith("user")
    assert meta["origins"]["train.models.lora.rank"].startswith("overlay config/tutorial/crag_mm.yaml:")
    assert meta["origins"]["train.models.lora.precision"] == "default"
    assert meta["origins"]["train.models.lora.warmup_ratio"].startswith("recipe config/recipes/crag_mm.yaml:")
    assert meta["training"]["choices"]["reasons"]["precision"] == "no GPU"
    assert json.loads((workspace.root / ADAPTER).read_text())["least_peft"] == "0.4.0"


def test_a_fault_of_the_settings_is_said_again_by_every_retry_at_once(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    hopeless = "overrides={crag_mm: {train: {models: {lora: {max_steps: 3, precision: fp16}}}}}"
    before = workspace.runs()
    printed = workspace.snakemake(ADAPTER, config=(hopeless,), fails=True)
    cause = "`precision: fp16` needs a GPU, and torch sees none"
    assert cause in printed
    first, *later = sorted(workspace.new_records(before), key=lambda record: str(record["started"]))
    assert cause in first["error"]
    assert later and {record["error"] for record in later} == {first["error"]}
    assert all("torch" not in record["tools"] for record in later), "they end before anything is loaded"


@pytest.mark.long
def test_a_model_trained_whole_is_predicted_with_and_exported(with_all: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_all)
    whole = "{method: full, learning_rate: 1e-3, max_steps: 2, batch_size: 4}"
    config = f"overrides={{crag_mm: {{train: {{models: {{whole: {whole}}}}}}}}}"
    targets = [f"{RESULTS}/predictions/whole/fold0.jsonl", f"{RESULTS}/ollama/whole/fold0/Modelfile"]
    made = workspace.executed(*targets, config=(config,))
    assert made == {"train_adapter": 1, "predict_answers": 1, "convert_gguf": 1, "check_parity": 1}
    folder = workspace.root / RESULTS / "models/whole/fold0"
    assert {path.name for path in folder.iterdir()} == {"final_checkpoint", "training_log.jsonl"}
    assert json.loads((folder / "final_checkpoint/manifest.json").read_text())["method"] == "full"
