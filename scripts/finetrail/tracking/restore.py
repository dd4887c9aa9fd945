"""A training whose checkpoints are gone goes on from its artifact: from the local registry, or from W&B."""

import logging
import tempfile
from pathlib import Path

from finetrail.tracking.adapter_zip import unzip_checkpoint
from finetrail.tracking.registry import Registry
from finetrail.tracking.tracker import FOLDER, run_id
from finetrail.tracking.wandb_run import check_tracking, download
from finetrail.training.checkpoints import newest_complete
from finetrail.training.settings import Tracking

logger = logging.getLogger(__name__)


def restore_checkpoint(state_dir: Path, tracking: Tracking | None) -> None:
    """Bring back the checkpoint that the configured alias means, where there is no complete one.

    Args:
        state_dir: opened; its registry is asked first.
        tracking: what was configured; online, W&B is asked where the registry knows nothing.

    Raises:
        FinetrailError: the artifact was changed or belongs to other data or settings; or W&B could not be asked.
    """
    if tracking is None or tracking.resume is None or newest_complete(state_dir) is not None:
        return
    registered = Registry(state_dir / FOLDER).find(tracking.resume)
    if registered is not None:
        _bring_back(registered[0], state_dir, f"{tracking.resume} of the local registry")
    elif tracking.mode == "online":
        check_tracking(tracking)
        with tempfile.TemporaryDirectory(dir=state_dir) as folder:
            file = download(tracking, run_id(state_dir), tracking.resume, Path(folder))
            if file is not None:
                _bring_back(file, state_dir, f"{tracking.resume} of W&B")


def _bring_back(file: Path, state_dir: Path, origin: str) -> None:
    checkpoint = unzip_checkpoint(file, state_dir)
    if checkpoint is None:
        logger.warning("%s holds an adapter alone, from which nothing can go on: training begins again", origin)
    else:
        logger.info("%s was brought back from %s", checkpoint, origin)
