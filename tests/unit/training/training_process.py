"""A training in processes of its own, with folders of its own, that a test can kill, starve and look into."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from finetrail.training.trainer.training_log import MEASURED

ROOT = Path(__file__).resolve().parents[3]
SETTINGS: dict[str, Any] = {
    "rank": 4, "alpha": 8, "dropout": 0.1, "learning_rate": 1e-2, "max_steps": 6, "batch_size": 2,
    "gradient_accumulation": 2, "limits": {"max_length": 256},
}  # fmt: skip
PATIENCE = 2000  # seconds: a busy machine compiles DeepSpeed's operators for long


@dataclass
class Training:
    """One training with folders of its own."""

    folder: Path
    job: dict[str, Any]

    def write(self, **more: Any) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "job.json"
        folders = {"state": str(self.folder / "state"), "out": str(self.folder / "out")}
        path.write_text(json.dumps(self.job | folders | more))
        return path

    def start(self, preexec: Callable[[], None] | None = None, **more: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.unit.training.runner", str(self.write(**more))],
            env=environment(),
            preexec_fn=preexec,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def run(self, **more: Any) -> tuple[int, str]:
        process = self.start(**more)
        try:
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            end_with_children(process)
        return process.returncode, said

    def sha256(self) -> dict[str, str]:
        published = sorted((self.folder / "out").glob("final_*/*"))
        files = [path for path in published if path.suffix == ".safetensors" or path.name.endswith("config.json")]
        assert any(path.suffix == ".safetensors" for path in files)
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def log(self) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (self.folder / "out/training_log.jsonl").read_text().splitlines()]
        return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]

    def recorded(self) -> int:
        path = self.folder / "state/steps.0.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    def noted(self) -> int:
        path = self.folder / "state/attempts.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    def checkpoints(self) -> list[int]:
        return sorted(int(path.parent.name[11:]) for path in (self.folder / "state").glob("checkpoint-*/complete.json"))


def environment() -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT / "scripts"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def end_with_children(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()
