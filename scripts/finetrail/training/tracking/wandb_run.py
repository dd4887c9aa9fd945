"""One run of Weights & Biases: opened with everything it writes in one folder, fed, and closed."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.training.checkpoints.failures import InputFault
from finetrail.training.settings.train_settings import Tracking

CHANGES_NO_RESULT = "It talks to W&B and gives nothing back; what is fetched from there `restore` checks by itself."
KEY = "WANDB_API_KEY"
ZIP = "adapter.zip"
# Else it writes into the home folder, which nodes may share or lack.
_FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR")


def check_tracking(tracking: Tracking) -> None:
    """Stop before anything is trained where W&B could not be reached.

    Raises:
        InputFault: the package is missing, or the mode is online and the environment holds no key.
    """
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise InputFault(
            "the package wandb is not installed", where="train.wandb", hint="Run `make env`, or set it to null"
        ) from error
    if tracking.mode == "online" and not os.environ.get(KEY):
        raise InputFault(
            f"W&B wants a key, and {KEY} is not set",
            where="train.wandb.mode",
            hint="Set it in the environment of the job (never in a file), or choose offline and `wandb sync` later",
        )


def keep_in(folder: Path) -> None:
    """Let W&B write into one folder only."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(dict.fromkeys(_FOLDERS, str(folder.absolute())))


def artifact_name(tracking: Tracking, run_id: str) -> str:
    """Name the artifacts of a training; those of other data or settings have another name."""
    return f"{tracking.name}-{run_id}"


class WandbRun:
    """A run, under the same id in every attempt, so that they are shown as one.

    Args:
        tracking: what was configured.
        folder: gets everything that W&B writes.
        run_id: letters and digits; the same for the same training.
        config: shown with the run; nothing secret.
    """

    def __init__(self, tracking: Tracking, folder: Path, run_id: str, config: Mapping[str, Any]) -> None:
        import wandb

        self._wandb = wandb
        self._artifact = artifact_name(tracking, run_id)
        keep_in(folder)
        self._run = wandb.init(
            mode=tracking.mode,
            project=tracking.project,
            entity=tracking.entity,
            name=tracking.name,
            id=run_id,
            resume="allow" if tracking.mode == "online" else None,
            dir=str(folder.absolute()),
            config=dict(config),
            # Neither what the job prints nor its code, its repository, its command line and its packages go out.
            settings=wandb.Settings(
                console="off",
                silent=True,
                save_code=False,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_save_requirements=False,
            ),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics of a step; steps that come again after a resume are kept once."""
        self._run.log(dict(values), step=step)

    def log_artifact(self, file: Path, metadata: Mapping[str, Any], aliases: Sequence[str]) -> None:
        """Upload a file, or note it for the upload by ``wandb sync``."""
        artifact = self._wandb.Artifact(self._artifact, "model", metadata=dict(metadata))
        artifact.add_file(str(file), name=ZIP)
        self._run.log_artifact(artifact, aliases=list(aliases))

    def close(self, *, failed: bool) -> None:
        """Write what is left."""
        self._run.finish(exit_code=int(failed))
