"""A training that is killed, told to stop, and resumed ends with the straight run's weights, bit for bit."""

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from finetrail.training.tiny_base import build_tiny_base
from finetrail.training.training_log import MEASURED
from tests.unit.training.conftest import SMALL
from tests.unit.training.fake_srun import install

ROOT = Path(__file__).resolve().parents[3]
SETTINGS: dict[str, Any] = {
    "rank": 4, "alpha": 8, "dropout": 0.1, "learning_rate": 1e-2, "max_steps": 6, "batch_size": 2,
    "gradient_accumulation": 2, "limits": {"max_length": 256},
}  # fmt: skip
# Random as the issue asks for, and named by the test's output, so that a failure can be repeated.
DRAW = int(os.environ.get("RESUME_SEED", random.randrange(1000)))


@dataclass
class Training:
    """One training with folders of its own."""

    folder: Path
    job: dict[str, Any]

    def start(self, **more: Any) -> "subprocess.Popen[str]":
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "job.json"
        folders = {"state": str(self.folder / "state"), "out": str(self.folder / "out")}
        path.write_text(json.dumps(self.job | folders | more))
        paths = os.pathsep.join([str(ROOT / "scripts"), str(ROOT), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "tests.unit.training.runner", str(path)],
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def run(self, **more: Any) -> tuple[int, str]:
        process = self.start(**more)
        try:
            _, said = process.communicate(timeout=500)
        finally:
            end_with_children(process)
        return process.returncode, said

    def sha256(self) -> dict[str, str]:
        files = sorted((self.folder / "out").glob("final_*/*.safetensors"))
        assert files
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


def end_with_children(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def wide_base(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for blocks of four-bit weights."""
    folder = tmp_path_factory.mktemp("wide")
    settings = dataclasses.replace(SMALL, hidden_size=64, intermediate_size=128)
    build_tiny_base("llama", texts, settings=settings, system="", seed=1, out_dir=folder)
    return folder


@pytest.fixture
def training(wide_base: Path, rows: list[dict[str, Any]], tmp_path: Path) -> Callable[..., Training]:
    def make(name: str, **changes: Any) -> Training:
        saving = {"save_steps": 1, "keep": 2, "code": "a"}
        job = {"base": str(wide_base), "train": rows, "eval": rows[:2], "saving": saving}
        return Training(tmp_path / name, job | {"settings": SETTINGS | changes})

    return make


def kill_at(run: Training, step: int) -> None:
    """SIGKILL a training once a step is recorded: somewhere behind it, wherever that is; no process of it lives on."""
    process = run.start()
    children: list[psutil.Process] = []
    try:
        while run.recorded() < step and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, process.stderr and process.stderr.read()
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=60)
        assert alive == []
    finally:
        end_with_children(process)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def signal_at(run: Training, step: int, number: signal.Signals) -> tuple[int, str]:
    """Send a signal to the process that the rule starts, once it is at work and a step is recorded."""
    before = run.noted()
    process = run.start()
    try:
        while run.noted() == before and process.poll() is None:
            time.sleep(0.02)
        while run.recorded() < step and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=500)
    finally:
        end_with_children(process)
    return process.returncode, said


def check(make: Callable[..., Training], changes: dict[str, Any]) -> None:
    straight, broken = make("straight", **changes), make("broken", **changes)
    code, said = straight.run()
    assert code == 0, said
    draw = random.Random(DRAW)
    steps = straight.job["settings"]["max_steps"]
    kill_at(broken, draw.randint(1, steps - 3))
    reached = broken.checkpoints()
    code, said = signal_at(broken, draw.randint(max(reached, default=0) + 1, steps - 1), signal.SIGUSR1)
    if code:  # it may have been done before the signal came
        assert "SIGUSR1" in said and "the next attempt continues" in said, said
        code, said = broken.run()
    assert code == 0, said
    assert broken.sha256() == straight.sha256(), f"RESUME_SEED={DRAW}"
    assert broken.log() == straight.log(), f"RESUME_SEED={DRAW}"


def test_lora_that_is_killed_and_resumed(training: Callable[..., Training]) -> None:
    straight, broken = training("straight"), training("broken")
    assert straight.run()[0] == 0
    code, _ = broken.run(kill_at=3, signal="SIGKILL")
    assert code == -signal.SIGKILL
    code, said = broken.run(kill_at=4, signal="SIGTERM")
    assert code == 1 and "stopped at step 4 of 6: SIGTERM" in said, said
    assert broken.checkpoints()[-1] == 4
    assert broken.run()[0] == 0
    assert broken.sha256() == straight.sha256()
    assert broken.log() == straight.log()


METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "qlora": {"method": "qlora", "optimizer": "paged_adamw_32bit"},
    "full": {"method": "full", "learning_rate": 1e-3},
    "packing": {"packing": True, "batch_size": 1, "gradient_accumulation": 1},
    "bf16": {"precision": "bf16", "gradient_checkpointing": True},
    "best": {"eval_steps": 1},
    "ddp": {"launch": {"processes": 2}},
    "zero2": {"launch": {"processes": 2, "deepspeed_stage": 2}},
    "zero3": {"launch": {"processes": 2, "deepspeed_stage": 3}},
    "offload": {"launch": {"processes": 2, "deepspeed_stage": 3, "offload": "all"}, "optimizer": "adamw_torch"},
}


@pytest.mark.long
def test_two_nodes_train_as_two_processes_do(
    training: Callable[..., Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in install(tmp_path / "bin").items():
        monkeypatch.setenv(name, value)
    one_node, two_nodes = (training(name, launch={name: 2}) for name in ("processes", "nodes"))
    code, said = one_node.run()
    assert code == 0, said
    code, said = signal_at(two_nodes, 2, signal.SIGUSR1)
    assert code == 1 and "SIGUSR1 asked for it" in said, said
    kill_at(two_nodes, 4)
    code, said = two_nodes.run()
    assert code == 0, said
    assert two_nodes.sha256() == one_node.sha256()
    assert two_nodes.log() == one_node.log()


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_killed_and_signalled(training: Callable[..., Training], name: str) -> None:
    if "deepspeed_stage" in METHODS[name].get("launch", {}):
        pytest.importorskip("deepspeed")
    check(training, METHODS[name])
