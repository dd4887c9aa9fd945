"""A training that has no time left: it saves and stops before its time limit, and a further attempt goes on."""

import re
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from finetrail.training.checkpoints.attempts import read_attempts
from tests.slurm.cluster import PATIENCE_S, Job, wait_until
from tests.slurm.test_nodes import LOCAL, SITE
from tests.slurm.test_resume_chain import STATE, TARGET, jobs_of
from tests.slurm.workspace import SlurmWorkspace
from tests.workspace import Workspace

pytestmark = pytest.mark.long
WEIGHTS = Path(TARGET).with_name("adapter_model.safetensors")
CONFIG = ("overrides={crag_mm: {train: {models: {lora: {max_steps: 60}}, save_steps: 2}}}",)


def left(job: Job) -> float:
    """Return the seconds until SLURM ends a job."""
    return datetime.fromisoformat(job.facts["EndTime"]).timestamp() - time.time()


def no_time_is_left(job: Job, paused: float) -> bool:
    """Say whether a step as long as the pause has no room before the limit any more, by a wide margin."""
    return left(job) < 0.6 * (time.time() - paused)


def test_a_training_stops_before_its_time_limit_and_goes_on(
    fresh: Workspace, tmp_path: Path, on_cluster: Callable[[], SlurmWorkspace]
) -> None:
    undisturbed = fresh.copy(tmp_path / "undisturbed")
    undisturbed.snakemake(TARGET, config=CONFIG)
    workspace = on_cluster()
    local = "".join(f"  {rule}: {{local: true}}\n" for rule in LOCAL)
    site = (SITE + local).replace("train_adapter: {", "train_adapter: {runtime: 5, ")
    (workspace.root / "config/site.yaml").write_text(site)
    cluster, states = workspace.cluster, workspace.root / STATE
    master = workspace.start(TARGET, config=CONFIG)
    try:
        wait_until(lambda: any(states.glob("**/checkpoint-*")), 2 * PATIENCE_S, "the training has a checkpoint")
        (first,) = jobs_of(workspace, "train_adapter")
        cluster.check("scancel", "--signal=STOP", first.id)
        wait_until(partial(no_time_is_left, first, time.time()), PATIENCE_S, "the limit is near")
        cluster.check("scancel", "--signal=CONT", first.id)
        printed, _ = master.communicate(timeout=1500)
    finally:
        master.kill()
        master.wait()
    assert master.returncode == 0, printed[-4000:]
    early, *_, last = jobs_of(workspace, "train_adapter")
    assert (early.id, early.state, last.state) == (first.id, "FAILED", "COMPLETED"), "not by SLURM's own limit"
    begun, *_, ended = read_attempts(next(states.glob("*/attempts.jsonl")).parent)
    assert begun["outcome"] == "stopped" and re.search("SLURM's time limit leaves 0:0[0-4]:", begun["cause"]), begun
    assert ended["from_step"] > 0 and ended["to_step"] == 60
    assert (workspace.root / WEIGHTS).read_bytes() == (undisturbed.root / WEIGHTS).read_bytes()
