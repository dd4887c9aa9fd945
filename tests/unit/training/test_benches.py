"""The benches of the trainer run, and ours learns what plain TRL learns; how fast is for `make bench` to say."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[3]


def bench(name: str, out: Path, *arguments: str) -> dict[str, Any]:
    """Run a bench and return what it wrote; a missed bound of speed is no failure here."""
    subprocess.run(
        [sys.executable, str(ROOT / "bench" / f"{name}.py"), "--out", str(out), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=500,
    )
    results: dict[str, Any] = json.loads(out.read_text())
    return results


def test_the_gpu_check_runs_without_a_gpu(tmp_path: Path) -> None:
    results = bench("gpu", tmp_path / "gpu.json", "--device", "cpu", "--tiny", "--steps", "5", "--only", "lora.packing")
    (run,) = results["runs"].values()
    assert run["tokens_per_second"] > 0 and run["peak_memory_mb"] > 0 and run["mfu"] is None


@pytest.mark.long
def test_every_run_of_the_gpu_check(tmp_path: Path) -> None:
    results = bench("gpu", tmp_path / "gpu.json", "--device", "cpu", "--tiny", "--steps", "5")
    assert len(results["runs"]) == 17
    for name in ("lora.resume", "lora.resume.deterministic"):
        assert results["runs"].pop(name) == {"same_batches": True, "spread": 0.0, "gap": 0.0, "holds": True}
    for name, run in results["runs"].items():
        assert ("liger" in run["not_run"]) if "liger" in name else (run["last_loss"] > 0), (name, run)


@pytest.mark.long
def test_ours_has_the_losses_of_plain_trl(tmp_path: Path) -> None:
    results = bench("training", tmp_path / "training.json", "--pairs", "1", "--steps", "8")
    assert all(results[method]["same_losses"] for method in ("lora", "full"))
