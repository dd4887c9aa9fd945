"""The master of a run as a job of SLURM: how it is submitted, and what it does when SLURM ends or restarts it."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from finetrail.cluster.queue import MASTER_COMMENT, masters
from finetrail.config.sections.site import Site
from finetrail.errors import FinetrailError

LOG = Path("logs/slurm/master.log")
# Seconds before its time limit at which SLURM wakes the master, so that it queues itself again.
WARNING_S = 180


def submission(site: Site, script: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command that submits a master.

    Args:
        site: says where, for how long, with how much memory.
        script: the program that leads a run within a job.
        arguments: Snakemake's.
    """
    master = site.master
    partition = master.partition or site.cpu_partition
    command = shlex.join([sys.executable, str(script), "--", *arguments])
    return [
        "sbatch", "--parsable", "--requeue", "--open-mode=append", f"--signal=B:USR1@{WARNING_S}",
        f"--job-name={MASTER_COMMENT}", f"--comment={MASTER_COMMENT}", f"--output={LOG}",
        f"--time={master.runtime}", f"--mem={master.mem_mb}", "--ntasks=1", f"--cpus-per-task={master.threads}",
        *([f"--partition={partition}"] if partition else []),
        *([f"--account={master.account}"] if master.account else []),
        "--wrap", f"exec {command}",
    ]  # fmt: skip


def check_alone(root: Path) -> None:
    """Refuse a second master of a working folder.

    Raises:
        FinetrailError: one is in the queue.
    """
    if queued := masters(root):
        job = queued[0]
        hint = f"make status shows its run; scancel {job.id} ends it with its jobs"
        raise FinetrailError(f"a master of this folder is in the queue: job {job.id} {job.state}", hint=hint)


def lead(command: Sequence[str]) -> int:
    """Run Snakemake within the master's job, and return its exit status.

    Woken before the time limit, it leaves its jobs running and lets SLURM queue the master again, which then resumes
    the run. Told to end (scancel, preemption), it interrupts Snakemake, which cancels its jobs and unlocks.
    """
    process = subprocess.Popen(command)
    woken: list[int] = []

    def queue_again(number: int, _frame: FrameType | None) -> None:
        woken.append(number)
        process.kill()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        process.send_signal(signal.SIGINT)

    signal.signal(signal.SIGUSR1, queue_again)
    signal.signal(signal.SIGTERM, interrupt)
    code = process.wait()
    if woken:
        print("the time limit is near: this master is queued again, its jobs go on", flush=True)
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
        signal.pause()  # SLURM ends this process
    return code
