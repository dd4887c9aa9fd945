"""Training in several processes: torchrun starts them on this node, and they meet in the state directory."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from finetrail.artifacts import read_json, write_json
from finetrail.errors import FinetrailError
from finetrail.training import worker
from finetrail.training.deadline import SIGNALS, Deadline
from finetrail.training.job import Job, Stopped, job_as_plain
from finetrail.training.settings import Launch

if TYPE_CHECKING:
    from datasets import Dataset

_POLL_SECONDS = 2.0

logger = logging.getLogger(__name__)


def fit_distributed(
    job: Job,
    train: "Dataset",
    evaluation: "Dataset | None",
    deadline: Deadline,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Train as `finetrail.training.fit.fit` does, in the processes that the settings ask for.

    Rows go to the processes as Arrow files, which they map into memory instead of each encoding them.

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
        raise Stopped(f"stopped before the first step: {deadline.signalled} asked for it", where=str(job.state_dir))
    command = [*launcher(job.settings.launch), "--module", worker.__name__, str(shared)]
    logger.info("starting %s", " ".join(command))
    code = _run(command, job.state_dir, progress)
    told = [read_json(path) for path in sorted(shared.glob("error.*.json"))]
    if told:
        first = told[0]
        kind = Stopped if first["stopped"] else FinetrailError
        raise kind(first["cause"], where=first["where"], hint=first["hint"])
    if code:
        raise FinetrailError(
            f"the processes of the training ended with code {code}",
            where=str(job.state_dir),
            hint="What they said stands above; one killed by the system says nothing: see its memory",
        )
    shutil.rmtree(shared)


def launcher(launch: Launch) -> list[str]:
    """Return the command that starts the processes of a training.

    Raises:
        FinetrailError: several nodes, which this process cannot reach by itself.
    """
    if launch.nodes > 1:
        raise FinetrailError(
            f"`launch.nodes` is {launch.nodes}, and this job has one",
            where="train.models",
            hint="Several nodes are started by SLURM only: set `nodes: 1`, or run on a cluster",
        )
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={launch.processes}"]


def _run(command: list[str], state_dir: Path, progress: Callable[[int, int], None] | None) -> int:
    """Start the launcher, hand signals on to its processes, and wait."""
    # DeepSpeed compiles its operators with the tools of this environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {
        "PATH": path,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # The launcher would end its processes within seconds of a signal: it hears none, they do.
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGHUP",
    }
    process = subprocess.Popen(command, env=environment, preexec_fn=_deaf)
    try:
        with _signals_to(process.pid):
            while True:
                try:
                    return process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    _tell(progress, state_dir)
    finally:
        if process.poll() is None:
            _end(process)


def _deaf() -> None:
    worker.die_with_parent()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _signals_to(launcher_id: int) -> Iterator[None]:
    """Hand a signal on to the processes of the training, which save and stop; a second one ends them at once."""
    import psutil

    told: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)
        for process in psutil.Process(launcher_id).children():
            process.send_signal(signal.SIGUSR1)
        logger.warning("%s handed on to the processes of the training", signal.Signals(number).name)

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
