"""Training in several processes: torchrun starts them, on this node or by srun on all of the job's.

Rows, settings and causes of failures pass through a folder of the state directory, which every node sees.
"""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json, write_json
from finetrail.serving.ports import free_port
from finetrail.training import worker
from finetrail.training.checkpoints.deadline import SIGNALS, Deadline
from finetrail.training.checkpoints.failures import InputFault, Stopped, failure_from_plain
from finetrail.training.settings.job import Job, job_as_plain
from finetrail.training.settings.train_settings import Launch
from finetrail.training.trainer.operators import drop_stale_locks, operators_folder

if TYPE_CHECKING:
    from datasets import Dataset

_POLL_SECONDS = 2.0
# The processes save and stop at a signal, so torchrun must live on: what a shell ignores its children ignore.
_DEAF = ("sh", "-c", 'trap "" TERM INT USR1; exec "$@"', "sh")

# What the environment says of the job, and not of a step in it.
_OF_THE_JOB = {"SLURM_JOB_ID", "SLURM_JOB_END_TIME"}

logger = logging.getLogger(__name__)


def fit_distributed(
    job: Job,
    train: "Dataset",
    evaluation: "Dataset | None",
    deadline: Deadline,
    progress: Callable[[int, int], None] | None,
    module: str,
) -> None:
    """Train as `finetrail.training.train_loop.fit` does, in the processes that the settings ask for.

    Rows go to the processes as Arrow files, which they map into memory instead of each encoding them. Each runs the
    module, which is `finetrail.training.worker` or one that calls it with another trainer.

    Raises:
        Stopped: a limit or a signal ended the attempt.
        FinetrailError: a process failed, with its cause.
    """
    shared = job.state_dir / "shared"
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir()
    train.save_to_disk(shared / "train")
    if evaluation is not None:
        evaluation.save_to_disk(shared / "eval")
    write_json(shared / worker.JOB, job_as_plain(job))
    if deadline.signalled is not None:
        raise Stopped(
            f"stopped before the first step: {deadline.signalled} asked for it",
            where=str(job.state_dir),
            hint="Nothing is lost: the next attempt continues where this one began",
        )
    if job.settings.launch.deepspeed_stage is not None:
        drop_stale_locks(operators_folder())
    command = [*launcher(job.settings.launch), "--module", module, str(shared)]
    logger.info("starting %s", " ".join(command))
    code = _run(command, shared, progress)
    told = [read_json(path) for path in sorted(shared.glob("error.*.json"))]
    if told:
        raise failure_from_plain(told[0])
    if code:
        raise FinetrailError(
            f"the processes of the training ended with code {code}",
            where=str(job.state_dir),
            hint="What they said stands above; one killed by the system says nothing: see its memory",
        )
    shutil.rmtree(shared)


def launcher(launch: Launch) -> list[str]:
    """Return the command that starts the processes of a training.

    On several nodes srun starts one torchrun a node; they meet at this one, which is the first of the job.

    Raises:
        InputFault: several nodes, and SLURM gave this job fewer.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={launch.processes}"]
    if launch.nodes == 1:
        return [*_DEAF, *torchrun, "--standalone"]
    given = allocated_nodes()
    if given < launch.nodes:
        raise InputFault(
            f"`launch.nodes` is {launch.nodes}, and this job has {given or 'one'}",
            where="train.models",
            hint="Several nodes are started by SLURM only: set `nodes: 1`, or ask for them and run on a cluster",
        )
    meeting = [
        f"--nnodes={launch.nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={socket.gethostname()}:{free_port('')}",
        f"--rdzv-id={os.environ['SLURM_JOB_ID']}",
    ]
    return [*_srun(launch.nodes), *_DEAF, *torchrun, *meeting]


def allocated_nodes() -> int:
    """Ask SLURM how many nodes this job has; the step that Snakemake runs in has one, and so says its environment."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return 0
    command = ["squeue", "--noheader", f"--jobs={job}", "--format=%D"]
    try:
        return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise FinetrailError(f"SLURM does not say how many nodes job {job} has: {error}") from error


def _srun(nodes: int) -> list[str]:
    """Return the command that starts one task a node with all that the job has there."""
    # Overlapping: Snakemake's own step may hold the processors of this node. A task that fails ends the others.
    command = ["srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    processors = os.environ.get("SLURM_CPUS_PER_TASK")  # a step asks for one where nobody says more
    return [*command, "--kill-on-bad-exit=1", *([f"--cpus-per-task={processors}"] if processors else [])]


def _run(command: list[str], shared: Path, progress: Callable[[int, int], None] | None) -> int:
    """Start the launcher, hand signals on to its processes, and wait."""
    # DeepSpeed compiles its operators with the tools of this environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    # Or else torchrun sets handlers of its own, which end its processes within seconds.
    environment["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGHUP"
    if command[0] == "srun":  # or it takes the size of Snakemake's step for its own
        environment = {k: v for k, v in environment.items() if not k.startswith("SLURM_") or k in _OF_THE_JOB}
    process = subprocess.Popen(command, env=environment, preexec_fn=worker.die_with_parent)
    try:
        with _signals_to(shared):
            while True:
                try:
                    return process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    _tell(progress, shared.parent)
    finally:
        if process.poll() is None:
            _end(process)


@contextmanager
def _signals_to(shared: Path) -> Iterator[None]:
    """Hand a signal on by a file, which processes of other nodes see too; a second one ends all at once."""
    told: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)
        name = signal.Signals(number).name
        (shared / worker.STOP).write_text(name)
        logger.warning("%s handed on to the processes of the training", name)

    before = {number: signal.signal(number, hand_on) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the launcher and its processes at once."""
    import psutil

    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.wait()


def _tell(progress: Callable[[int, int], None] | None, state_dir: Path) -> None:
    """Report how far the first process is, from what it recorded."""
    path = state_dir / "steps.0.jsonl"
    if progress is None or not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - (1 << 16)))
        lines = stream.read().splitlines(keepends=True)
    complete = [line for line in lines if line.endswith(b"\n") and line.startswith(b"{")]
    if complete:
        last = json.loads(complete[-1])
        progress(last["step"], last["steps"])
