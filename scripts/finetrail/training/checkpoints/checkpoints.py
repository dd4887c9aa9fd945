"""The state directory of a training run: what it belongs to, and its complete checkpoints.

A checkpoint counts when `complete.json` stands in it: written last, it names every file with its size. What a
process that died left half written has none, and is passed over.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json, sync_path, write_json

IDENTITY = "identity.json"
COMPLETE = "complete.json"
TRAINER_STATE = "trainer_state.json"
_PREFIX = "checkpoint-"

logger = logging.getLogger(__name__)


@contextmanager
def hold(state_dir: Path) -> Iterator[None]:
    """Keep other processes out while one trains: a job whose master died may live on beside its retry.

    Raises:
        FinetrailError: another process trains here.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FinetrailError(
                "another process trains in this state directory",
                where=str(state_dir),
                hint="It may be left over from a run that was killed: end it, or wait for it",
            ) from error
        except OSError:
            logger.warning("%s: the file system has no locks; nothing keeps a second process out", state_dir)
        yield


def open_state(state_dir: Path, identity: str, code: str | None) -> None:
    """Create a state directory, or check that an existing one belongs to the same data and settings.

    Args:
        state_dir: survives failed jobs; never a declared output of a job.
        identity: a digest of everything that decides the weights, but for the code.
        code: digest of the code. Where it changed and the same rows are encoded otherwise, no code of today can go
            on from the checkpoints: they are removed, with a warning.

    Raises:
        FinetrailError: the directory holds the state of another run.
    """
    path = state_dir / IDENTITY
    if path.exists():
        known = read_json(path)
        if known.get("identity") == identity:
            return
        if code is None or known.get("code") == code:
            raise FinetrailError(
                "the state directory belongs to other data or settings",
                where=str(state_dir),
                hint="Name another directory, or remove this one if its checkpoints are of no use",
            )
        logger.warning("%s: other code made other examples of the rows: training begins again", state_dir)
        forget(state_dir)
    state_dir.mkdir(parents=True, exist_ok=True)
    write_json(path, {"identity": identity, "code": code})


def forget(state_dir: Path) -> None:
    """Remove checkpoints and everything else, but for the list of attempts and the lock."""
    for path in state_dir.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("attempts.jsonl", "lock"):
            path.unlink()


def checkpoint_folder(state_dir: Path, step: int) -> Path:
    """Name the checkpoint of a step, as the trainer does."""
    return state_dir / f"{_PREFIX}{step}"


def checkpoint_step(checkpoint: Path) -> int:
    """Return the step that a checkpoint was taken at."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def newest_complete(state_dir: Path) -> Path | None:
    """Find the checkpoint to resume from: the newest that is complete; half-written ones are passed over."""
    for path in reversed(_checkpoints(state_dir)):
        if is_complete(path):
            return path
        logger.warning("%s is incomplete and passed over", path)
    return None


def mark_complete(checkpoint: Path) -> None:
    """Force a checkpoint to the disk and list its files: from then on it counts."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    for path in files:
        sync_path(path)
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    write_json(checkpoint / COMPLETE, {"files": sizes})


def is_complete(checkpoint: Path) -> bool:
    """Tell whether a checkpoint was written to its end and nothing of it was lost or cut since."""
    try:
        sizes: Mapping[str, int] = read_json(checkpoint / COMPLETE)["files"]
        read_json(checkpoint / TRAINER_STATE)
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (FinetrailError, OSError, KeyError, TypeError):
        return False


def rotate(state_dir: Path, keep: int, best: int | None) -> None:
    """Remove old checkpoints.

    Args:
        state_dir: holds at least one complete checkpoint: none is removed before a newer one is complete.
        keep: how many of the newest complete ones stay.
        best: step of the one that stays besides.
    """
    complete = [path for path in _checkpoints(state_dir) if is_complete(path)]
    stay = {*complete[-keep:], *(path for path in complete if checkpoint_step(path) == best)}
    for path in _checkpoints(state_dir):
        if path not in stay and checkpoint_step(path) < checkpoint_step(complete[-1]):
            shutil.rmtree(path)


def trainer_state(checkpoint: Path) -> dict[str, Any]:
    """Read what the trainer noted of itself in a checkpoint."""
    state: dict[str, Any] = read_json(checkpoint / TRAINER_STATE)
    return state


def ended(checkpoint: Path) -> str | None:
    """Say why nothing is left to train behind a checkpoint; None where something is.

    The process may have died between its last checkpoint and the note that it had finished.
    """
    state = trainer_state(checkpoint)
    if state["global_step"] >= state["max_steps"]:
        return "all steps are done"
    stopping = state["stateful_callbacks"].get("EarlyStoppingCallback")
    if stopping is None:
        return None
    waited = stopping["attributes"]["early_stopping_patience_counter"]
    patience = stopping["args"]["early_stopping_patience"]
    return f"no better dev loss in {waited} evaluations" if waited >= patience else None


def best_checkpoint(last: Path) -> Path:
    """Return the checkpoint with the best dev loss, which the last one names; the last one where none was chosen.

    Raises:
        FinetrailError: it is gone or incomplete.
    """
    step = trainer_state(last).get("best_global_step")
    best = checkpoint_folder(last.parent, step) if step is not None else last
    if not is_complete(best):
        raise FinetrailError(
            "the best checkpoint is gone or incomplete",
            where=str(best),
            hint=f"Remove {last.parent} and train again",
        )
    return best


def free_bytes(folder: Path) -> int:
    """Return how much a user may still write where a folder stands."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _checkpoints(state_dir: Path) -> list[Path]:
    """List the folders of checkpoints, the oldest first."""
    found = [path for path in state_dir.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=checkpoint_step)
