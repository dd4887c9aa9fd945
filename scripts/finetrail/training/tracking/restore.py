"""A training whose checkpoints are gone goes on from its artifact: from the local registry, or from W&B."""

import logging
import shutil
import tempfile
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.training.checkpoints.checkpoints import checkpoint_folder, is_complete, newest_complete, trainer_state
from finetrail.training.settings.train_settings import Tracking
from finetrail.training.tracking.adapter_zip import unzip_checkpoint, zipped_step
from finetrail.training.tracking.artifact_registry import FOLDER, Registry, run_id
from finetrail.training.tracking.wandb_run import ZIP, artifact_name, check_tracking, keep_in

logger = logging.getLogger(__name__)


def restore_checkpoint(state_dir: Path, tracking: Tracking | None) -> None:
    """Bring back the checkpoint that the configured alias means, where there is no complete one.

    Args:
        state_dir: opened; its registry is asked first.
        tracking: what was configured; online, W&B is asked where the registry knows nothing.

    Raises:
        FinetrailError: the artifact was changed or belongs to other data or settings; the best model so far is in none;
            or W&B could not be asked.
    """
    if tracking is None or tracking.resume is None or newest_complete(state_dir) is not None:
        return
    checkpoint = _from_alias(tracking.resume, state_dir, tracking)
    if checkpoint is not None:
        _bring_the_best_too(checkpoint, state_dir, tracking)


def _from_alias(alias: str, state_dir: Path, tracking: Tracking, step: int | None = None) -> Path | None:
    """Bring back the checkpoint that an alias means, here or at W&B; None where there is none to go on from.

    Args:
        step: leave it where it is if it is not of this step.
    """
    registered = Registry(state_dir / FOLDER).find(alias)
    if registered is not None:
        return _bring_back(registered[0], state_dir, f"{alias} of the local registry", step)
    if tracking.mode == "online":
        check_tracking(tracking)
        with tempfile.TemporaryDirectory(dir=state_dir) as folder:
            file = download(tracking, run_id(state_dir), alias, Path(folder))
            if file is not None:
                return _bring_back(file, state_dir, f"{alias} of W&B", step)
    return None


def _bring_the_best_too(checkpoint: Path, state_dir: Path, tracking: Tracking) -> None:
    """Bring back the checkpoint with the best dev loss so far, which may be what is published at last.

    Raises:
        FinetrailError: no artifact holds it; the checkpoint is removed again, so that the next attempt asks anew.
    """
    step = trainer_state(checkpoint).get("best_global_step")
    best = checkpoint_folder(state_dir, step) if step is not None else checkpoint
    if not is_complete(best) and tracking.resume == "latest":
        _from_alias("best", state_dir, tracking, step)
    if not is_complete(best):
        shutil.rmtree(checkpoint)
        raise FinetrailError(
            f"the best model so far, of step {step}, is in no artifact: training could go on from {checkpoint.name},"
            " and that model not be published",
            where=str(state_dir),
            hint="Set train.wandb.resume to the other alias, or to null to begin anew",
        )


def _bring_back(file: Path, state_dir: Path, origin: str, step: int | None) -> Path | None:
    if step is not None and zipped_step(file) != step:
        return None
    checkpoint = unzip_checkpoint(file, state_dir)
    if checkpoint is None:
        logger.warning("%s holds an adapter alone, from which nothing can go on: training begins again", origin)
    else:
        logger.info("%s was brought back from %s", checkpoint, origin)
    return checkpoint


def download(tracking: Tracking, run_id: str, alias: str, folder: Path) -> Path | None:
    """Fetch the file that an alias means at W&B; None where nothing has it.

    Args:
        tracking: online.
        run_id: see `WandbRun`.
        alias: ``latest`` or ``best``.
        folder: gets the file.

    Raises:
        FinetrailError: W&B could not be asked.
    """
    import wandb

    keep_in(folder)
    place = "/".join(part for part in (tracking.entity, tracking.project) if part)
    try:
        artifact = wandb.Api().artifact(f"{place}/{artifact_name(tracking, run_id)}:{alias}", type="model")
        return Path(artifact.download(root=str(folder))) / ZIP
    except (ValueError, wandb.Error) as error:
        if "not found" in str(error):
            return None
        raise FinetrailError(
            f"W&B does not give out the artifact {alias!r}: {error}",
            where="train.wandb.resume",
            hint="Try again later, or set it to null to begin anew",
        ) from error
