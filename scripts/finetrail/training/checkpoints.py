"""The state directory of a training run: what it belongs to, and its newest complete checkpoint."""

import json
import logging
from pathlib import Path

from finetrail.artifacts import read_json, write_json
from finetrail.errors import FinetrailError

IDENTITY = "identity.json"
_LAST_WRITTEN = "trainer_state.json"

logger = logging.getLogger(__name__)


def open_state(state_dir: Path, identity: str) -> None:
    """Create a state directory, or check that an existing one belongs to the same data and settings.

    Args:
        state_dir: survives failed jobs; never a declared output of a job.
        identity: a digest of everything that decides the weights.

    Raises:
        FinetrailError: the directory holds the state of another run.
    """
    path = state_dir / IDENTITY
    if not path.exists():
        state_dir.mkdir(parents=True, exist_ok=True)
        write_json(path, {"identity": identity})
        return
    if read_json(path).get("identity") != identity:
        raise FinetrailError(
            "the state directory belongs to other data or settings",
            where=str(state_dir),
            hint="Name another directory, or remove this one if its checkpoints are of no use",
        )


def newest_complete(state_dir: Path) -> Path | None:
    """Find the checkpoint to resume from: the newest whose last-written file is there and can be read.

    A process that died while saving leaves a folder without it; such a folder is passed over, not deleted.
    """
    steps = sorted(
        (int(path.name.partition("-")[2]), path)
        for path in state_dir.glob("checkpoint-*")
        if path.name.partition("-")[2].isdigit()
    )
    for _, path in reversed(steps):
        if _complete(path):
            return path
        logger.warning("%s is incomplete and passed over", path)
    return None


def _complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / _LAST_WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
