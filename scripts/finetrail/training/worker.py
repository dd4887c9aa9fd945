"""One process of a training that `finetrail.training.launch` started, given the folder that they share."""

import logging
import os
import signal
import sys
from pathlib import Path

from finetrail.artifacts import write_json
from finetrail.errors import FinetrailError
from finetrail.training.fit import Stopped, fit
from finetrail.training.launch import JOB, die_with_parent, read_job


def main(shared: Path) -> int:
    """Train; leave the cause of a failure where the process that waits finds it."""
    die_with_parent()
    rank = int(os.environ["RANK"])
    level = logging.INFO if rank == 0 else logging.WARNING
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s [{rank}] %(message)s", datefmt="%H:%M:%S")
    # Inherited as ignored from the launcher. Until the training heeds them, nothing is lost by ending at once.
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    from datasets import load_from_disk

    evaluation = shared / "eval"
    try:
        job = read_job(shared / JOB)
        fit(
            job,
            load_from_disk(shared / "train"),
            load_from_disk(evaluation) if evaluation.exists() else None,
            None,
        )
    except FinetrailError as error:
        told = {"cause": error.cause, "where": error.where, "hint": error.hint, "stopped": isinstance(error, Stopped)}
        write_json(shared / f"error.{rank}.json", told)
        return 1
    finally:
        import torch

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
