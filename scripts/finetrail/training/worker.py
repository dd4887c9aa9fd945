"""One process of a training that `finetrail.training.launch` started, given the folder that they share."""

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json, write_json
from finetrail.training.checkpoints.deadline import Deadline, heed_signals
from finetrail.training.checkpoints.failures import Stopped, failure_as_plain
from finetrail.training.settings.job import job_from_plain
from finetrail.training.train_loop import fit
from finetrail.training.trainer.trainer import build_trainer
from finetrail.training.trainer_parts import BuildTrainer

JOB = "job.json"
STOP = "stop"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(shared: Path, build_trainer: BuildTrainer) -> int:
    """Train; leave the cause of a failure where the process that waits finds it."""
    die_with_parent()
    rank = int(os.environ["RANK"])
    level = logging.INFO if rank == 0 else logging.WARNING
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s [{rank}] %(message)s", datefmt="%H:%M:%S")
    deadline = Deadline(stop_file=shared / STOP)
    try:
        with heed_signals(deadline):
            _fit(shared, deadline, build_trainer)
    except FinetrailError as error:
        write_json(shared / f"error.{rank}.json", failure_as_plain(error))
        # A failure ends the others, which may wait for this one; to stop is agreed, and they must finish.
        return 0 if isinstance(error, Stopped) else 1
    finally:
        import torch

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _fit(shared: Path, deadline: Deadline, build_trainer: BuildTrainer) -> None:
    from datasets import load_from_disk

    evaluation = shared / "eval"
    rows = load_from_disk(evaluation) if evaluation.exists() else None
    job = job_from_plain(read_json(shared / JOB))
    fit(job, load_from_disk(shared / "train"), rows, deadline, None, build_trainer)


def die_with_parent() -> None:
    """Have Linux end this process when the one that started it ends, however that ends: no orphan trains on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), build_trainer))
