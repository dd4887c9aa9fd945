"""The two bases that an adapter of QLoRA may be merged into, measured after the export's quantization."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from finetrail.inference.generate import load_model
from finetrail.inference.likelihood import answer_loss
from finetrail.models.base_model import BaseModel
from finetrail.models.limits import Limits
from finetrail.models.masks import encode_row
from finetrail.rows.artifacts import write_manifest
from finetrail.rows.records import dump_row
from finetrail.tiny.tiny_base import build_tiny_base
from finetrail.training.merge_candidates import choose_merge, trained_targets
from finetrail.training.settings.train_settings import Launch, TrainSettings
from finetrail.training.sft import train_adapter
from tests.unit.training.conftest import SMALL

LIMITS = Limits(max_length=256)
SETTINGS = TrainSettings(
    method="qlora", rank=4, alpha=8, dropout=0.0, learning_rate=2e-2, max_steps=6, batch_size=4,
    gradient_accumulation=1, limits=LIMITS,
)  # fmt: skip


def test_the_loss_decides_where_rows_tell_the_candidates_apart() -> None:
    near = {"original": 0.2, "dequantized": 0.1}
    clear = {"original": [1.0, 2.0, 3.0], "dequantized": [1.2, 2.3, 3.2]}
    assert choose_merge(clear, near) == ("original", "dev_loss")  # type: ignore[arg-type]
    noise = {"original": [1.0, 2.0, 3.0], "dequantized": [1.2, 1.7, 3.2]}
    assert choose_merge(noise, near) == ("dequantized", "kl")  # type: ignore[arg-type]
    one = {"original": [1.0], "dequantized": [2.0]}
    assert choose_merge(one, near) == ("dequantized", "kl")  # type: ignore[arg-type]


def test_without_dev_rows_the_distance_decides_alone() -> None:
    assert choose_merge(None, {"original": 0.2, "dequantized": 0.1}) == ("dequantized", "train")
    assert choose_merge(None, {"original": 0.1, "dequantized": 0.2}) == ("original", "train")


@pytest.fixture(scope="module")
def trained(texts: list[str], rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base, adapter and dev rows, as the rules would have left them."""
    work = tmp_path_factory.mktemp("qlora")
    size = replace(SMALL, hidden_size=64, intermediate_size=128)  # bitsandbytes' blocks on a CPU are 64 wide
    build_tiny_base("llama", texts, settings=size, system="", seed=1, out_dir=work / "base")
    write_manifest(work / "base", work / "base/manifest.json", {})
    train_adapter(BaseModel(work / "base"), rows, rows[:2], SETTINGS, state_dir=work / "state", out_dir=work)
    write_manifest(work / "final_adapter", work / "final_adapter/manifest.json", {})
    (work / "eval.jsonl").write_text("".join(dump_row(row) + "\n" for row in rows[:4]))
    many = [{**row, "id": f"row{number}"} for number, row in enumerate(rows * 20)]
    (work / "train.jsonl").write_text("".join(dump_row(row) + "\n" for row in many))
    (work / "none.jsonl").write_text("")
    return work


def settings_of(export: dict[str, str] | None) -> str:
    """As a node with eight GPUs trained: the merge is made where there may be none."""
    there: dict[str, Any] = {"attention": "flash_attention_2", "liger": "on", "launch": Launch(processes=8)}
    tuning = asdict(replace(SETTINGS, limits=Limits(), **there))
    tuning["warmup_ratio"] = tuning.pop("warmup_share")
    tuning["target_modules"] = None
    del tuning["limits"]
    whole: dict[str, Any] = {"train": {"models": {"small": tuning}}, "limits": asdict(LIMITS)}
    return json.dumps(whole | ({"export": export} if export else {}))


def chosen(
    run_script: Callable[..., Any], work: Path, out: Path, export: dict[str, str] | None, dev: str = "eval.jsonl"
) -> dict[str, Any]:
    done = run_script(
        "export/choose_merge.py", "--base", work / "base/manifest.json", "--eval", work / dev,
        "--train", work / "train.jsonl",
        "--adapter", work / "final_adapter/manifest.json", "--settings", settings_of(export),
        "--manifest", out / "final_merged_checkpoint/manifest.json", "--report", out / "merge.json",
        "--meta", out / "merged.meta.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"final_merged_checkpoint", "merge.json", "merged.meta.json"}
    report: dict[str, Any] = json.loads((out / "merge.json").read_text())
    assert ("dev_loss" in done.stderr) == (dev == "eval.jsonl"), "what train rows say is no score"
    assert f"merged model saved to: {out / 'final_merged_checkpoint'}" in done.stderr
    assert report["kept"] == json.loads((out / "final_merged_checkpoint/manifest.json").read_text())["into"]
    return report


@pytest.mark.heavy
@pytest.mark.parametrize("quantization", ["f32", pytest.param("q4_0", marks=pytest.mark.long)])
def test_both_candidates_are_measured_as_they_would_ship(
    run_script: Callable[..., Any], trained: Path, tmp_path: Path, quantization: str
) -> None:
    out = tmp_path / "out"
    report = chosen(run_script, trained, out, {"format": "gguf", "quantization": quantization})
    assert (report["runtime"], report["quantization"], report["rows"]) == ("llama.cpp", quantization, 4)
    original, dequantized = report["candidates"]["original"], report["candidates"]["dequantized"]
    assert original != dequantized
    if quantization == "f32":  # nothing but the merge itself parts the file from the trained model
        assert dequantized["mean_kl"] < original["mean_kl"] / 3
        assert math.isclose(dequantized["dev_loss"], report["trained"]["dev_loss"], abs_tol=1e-4)
    else:
        assert min(original["mean_kl"], dequantized["mean_kl"]) > 1e-5


@pytest.mark.heavy
def test_without_dev_rows_train_rows_choose_and_score_nothing(
    run_script: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = chosen(run_script, trained, out, {"format": "gguf", "quantization": "f32"}, dev="none.jsonl")
    assert (report["decided_by"], report["rows"], report["runtime"]) == ("train", 16, "llama.cpp")
    assert "trained" not in report
    assert all(candidate.keys() == {"mean_kl"} for candidate in report["candidates"].values())
    nearest = min(report["candidates"], key=lambda name: report["candidates"][name]["mean_kl"])
    assert report["kept"] == nearest


@pytest.mark.long
def test_a_format_without_a_runtime_is_measured_as_it_is_saved(
    run_script: Callable[..., Any], trained: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    from transformers import AutoTokenizer

    out = tmp_path / "out"
    report = chosen(run_script, trained, out, None)
    assert report["runtime"] == "transformers"
    merged = out / "final_merged_checkpoint"
    tokenizer = AutoTokenizer.from_pretrained(merged)
    examples = [encode_row(row, tokenizer, LIMITS) for row in rows[:4]]
    losses = [loss.nats / loss.tokens for loss in answer_loss(load_model(merged), examples)]
    assert report["candidates"][report["kept"]]["dev_loss"] == pytest.approx(sum(losses) / 4, abs=1e-5)
    targets = trained_targets(trained / "base", trained / "final_adapter", SETTINGS, examples, tokens=3)
    assert [len(target.log_probs) for target in targets] == [3] * 4
