"""Several processes: what they are given, how they are started, and what is said when one fails."""

import dataclasses
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.models.base_model import BaseModel
from finetrail.models.limits import Limits
from finetrail.training.checkpoints.checkpoints import newest_complete
from finetrail.training.launch import launcher
from finetrail.training.settings.hardware import detect
from finetrail.training.settings.job import Job, job_as_plain, job_from_plain
from finetrail.training.settings.machine_choices import choose
from finetrail.training.settings.train_settings import Launch, Saving, TrainSettings
from finetrail.training.sft import train_adapter
from finetrail.training.trainer.operators import drop_stale_locks, operators_folder
from tests.unit.training import fake_srun
from tests.unit.training.conftest import cpu_only

SETTINGS = TrainSettings(
    rank=4, alpha=8, target_modules=("q_proj", "v_proj"), max_steps=2, batch_size=1, gradient_accumulation=2,
    limits=Limits(max_length=256), launch=Launch(processes=2),
)  # fmt: skip


@pytest.mark.heavy
@cpu_only
def test_a_job_reaches_another_process_as_it_is(tmp_path: Path) -> None:
    job = Job(tmp_path, tmp_path, None, SETTINGS, Saving(code="a"), choose(SETTINGS, detect()), 1.5, 12)
    for sent in (job, dataclasses.replace(job, resume=tmp_path / "checkpoint-1")):
        assert job_from_plain(json.loads(json.dumps(job_as_plain(sent)))) == sent


def test_one_process_a_gpu_on_this_node() -> None:
    assert launcher(Launch(processes=4))[-2:] == ["--nproc-per-node=4", "--standalone"]


def test_one_launcher_a_node_of_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(FinetrailError, match=r"`launch\.nodes` is 2, and this job has one"):
        launcher(Launch(nodes=2))
    monkeypatch.setenv("PATH", fake_srun.install(tmp_path / "bin")["PATH"])
    for name, value in {"JOB_ID": "81", "CPUS_PER_TASK": "6"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(FinetrailError, match=r"`launch\.nodes` is 3, and this job has 2"):
        launcher(Launch(nodes=3))
    command = launcher(Launch(processes=4, nodes=2))
    assert command[:5] == ["srun", "--overlap", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert "--cpus-per-task=6" in command and "--nproc-per-node=4" in command
    assert command[-4:-2] == ["--nnodes=2", "--rdzv-backend=c10d"] and command[-1] == "--rdzv-id=81"
    assert command[-2].startswith(f"--rdzv-endpoint={socket.gethostname()}:")


def test_a_lock_that_a_dead_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch waits for one for ever; one beside which something was written just now belongs to the living."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    left, living = tmp_path / "cpu_adam" / "lock", tmp_path / "py311_cpu" / "shm_comm" / "lock"
    for lock in (left, living):
        lock.parent.mkdir(parents=True)
        lock.touch()
        os.utime(lock, (0, 0))
    (living.parent / "build.ninja").touch()
    drop_stale_locks(operators_folder())
    assert not left.exists() and living.exists()


@pytest.mark.long
def test_two_processes_train_and_the_failure_of_one_is_told(
    base_dir: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    report = train_adapter(
        BaseModel(base_dir), rows, rows[:2], SETTINGS, state_dir=tmp_path / "s", out_dir=tmp_path / "o"
    )
    log = [json.loads(line) for line in (tmp_path / "o/training_log.jsonl").read_text().splitlines()]
    seen = [row_id for row in log for row_id in row["rows"]]
    assert report.steps == 2 and sorted(seen) == sorted(row["id"] for row in rows)  # 2 steps x 2 processes x 2 rows
    harm: dict[str, Any] = {"learning_rate": 1e30, "max_grad_norm": 0.0, "warmup_share": 0.0}
    spoilt = dataclasses.replace(SETTINGS, target_modules="all-linear", max_steps=4, **harm)
    with pytest.raises(FinetrailError, match="the loss is not finite at step"):
        train_adapter(
            BaseModel(base_dir),
            rows,
            [],
            spoilt,
            state_dir=tmp_path / "s2",
            out_dir=tmp_path / "o2",
            saving=Saving(save_steps=1),
        )
    assert newest_complete(tmp_path / "s2") is not None
