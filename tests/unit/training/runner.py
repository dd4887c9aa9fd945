"""A training in a process of its own, which a test can kill: ``python -m tests.unit.training.runner JOB.json``.

The job names the base, rows, settings, saving, state and output folders; `when` may name a step at which the process
sends itself a signal.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.models.base_model import BaseModel
from finetrail.models.limits import Limits
from finetrail.training.settings.train_settings import Launch, Saving, TrainSettings
from finetrail.training.sft import train_adapter


def main(job: dict[str, Any]) -> int:
    settings = dict(job["settings"])
    settings["limits"] = Limits(**settings["limits"])
    settings["launch"] = Launch(**settings.get("launch", {}))

    def watch(step: int, steps: int) -> None:
        if job.get("kill_at") and step >= job["kill_at"]:
            os.kill(os.getpid(), signal.Signals[job["signal"]])

    try:
        train_adapter(
            BaseModel(Path(job["base"])),
            job["train"],
            job["eval"],
            TrainSettings(**settings),
            state_dir=Path(job["state"]),
            out_dir=Path(job["out"]),
            saving=Saving(**job["saving"]),
            progress=watch,
        )
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
