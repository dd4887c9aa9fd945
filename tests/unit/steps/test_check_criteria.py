"""The criteria of success: met, not met, or not measurable on this machine; and the artifact that `best` means."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from evaluate.check_criteria import criteria, main
from finetrail.errors import FinetrailError
from finetrail.inference.answering.deployed import unpack_adapter
from finetrail.rows.records import write_jsonl
from finetrail.training.tracking.artifact_registry import Registry

KEYS = {"save_steps": 100, "save_before_minutes": 30.0, "max_hours": 12.0}
TRAINED = {"steps_per_second": 0.5, "tokens_per_second": 80.0, "peak_memory_mb": 12_000}


def scores(estimate: float, low: float) -> dict[str, Any]:
    tables = {"retrieved": {"supported_answers": 0.5, "f1": 0.4}, "gold_0": {"f1": 0.9}, "gold_2": {"f1": 0.7}}
    return {
        "model": "generator",
        "training_seeds": [42],
        "comparisons": {"answer_f1": {"differences": {"base": {"estimate": estimate, "low": low}}}},
        "hop_scores": {"generator": tables, "base": tables},
    }


def latency(device: str, seconds: float) -> dict[str, Any]:
    return {"device": device, "seconds": {"in all": {"p50": seconds, "p95": seconds}}}


def verdicts(made: list[dict[str, Any]]) -> dict[str, str]:
    return {line["criterion"]: line["verdict"] for line in made}


def test_on_a_gpu_everything_is_measured() -> None:
    artifacts = {name: {"megabytes": 499.0} for name in ("latest", "best")}
    found = verdicts(criteria(scores(0.2, 0.1), latency("NVIDIA", 1.5), TRAINED, artifacts, KEYS, "auto"))
    assert found.pop("share of supported answers") == "not measurable here"
    assert set(found.values()) == {"met"}
    slow = criteria(
        scores(0.2, -0.1), latency("NVIDIA", 2.5), TRAINED | {"peak_memory_mb": 20_000}, artifacts, KEYS, "bf16"
    )
    missed = {name for name, verdict in verdicts(slow).items() if verdict == "not met"}
    assert missed == {
        "answer F1 over the untuned base",
        "seconds a question, p95",
        "peak memory of the training, GB",
        "precision follows the hardware",
    }


def test_without_gpu_and_tracking_nothing_is_claimed() -> None:
    found = verdicts(
        criteria(scores(0.2, 0.1), latency("CPU (x86_64)", 0.1), TRAINED, {}, KEYS | {"save_steps": 500}, "auto")
    )
    assert {name for name, verdict in found.items() if verdict == "not measurable here"} == {
        "peak memory of the training, GB",
        "tokens a second in training",
        "seconds a question, p95",
        "largest artifact, MB",
        "share of supported answers",
    }
    assert found["inference loads `best`"] == found["steps between checkpoints"] == "not met"


def test_the_script_reads_what_the_rules_make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "metrics.json").write_text(json.dumps(scores(0.0, 0.0)))
    (folder / "latency.json").write_text(json.dumps(latency("CPU", 1.0)))
    steps = [{"steps_per_second": 2.0, "tokens_per_second": 20.0}, {"steps_per_second": 0.5, "tokens_per_second": 10.0}]
    write_jsonl(folder / "log.jsonl", [{"step": 1, "peak_memory_mb": 500} | step for step in steps])
    registry = folder / "state/abc/wandb"
    registry.mkdir(parents=True)
    (registry / "step-1.zip").write_bytes(b"x" * 2_000_000)
    Registry(registry).put(registry / "step-1.zip", {"step": 1}, 0.5)
    monkeypatch.setattr("evaluate.check_criteria.operation_key", lambda *_: KEYS)
    arguments = ["--metrics", "metrics.json", "--latency", "latency.json", "--training-log", "log.jsonl"]
    arguments += ["--state", "state", "--out", "criteria.json", "--picture", "p.svg", "--meta", "criteria.meta.json"]
    arguments += ["--settings", json.dumps({"train": {"models": {"generator": {"precision": "auto"}}}})]
    assert main(arguments) == 0
    report = json.loads((folder / "criteria.json").read_text())
    assert report["trained"] == {"steps_per_second": 0.8, "tokens_per_second": 12.0, "peak_memory_mb": 500}
    assert {line["criterion"]: line["value"] for line in report["criteria"]}["largest artifact, MB"] == 2.0
    assert (folder / "p.svg").read_text().startswith("<?xml")


def test_only_the_adapter_is_taken_out_of_an_artifact(tmp_path: Path) -> None:
    file = tmp_path / "step-1.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("checkpoint-1/adapter_config.json", "{}")
        archive.writestr("checkpoint-1/adapter_model.safetensors", "weights")
        archive.writestr("../../elsewhere.txt", "no")
    out = tmp_path / "out"
    out.mkdir()
    unpack_adapter(file, out)
    assert sorted(path.name for path in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("adapter_config.json", "{}")
    with pytest.raises(FinetrailError, match=r"holds no adapter_model.safetensors"):
        unpack_adapter(file, out)
