"""A checkpoint of an adapter as one zip file: enough to go on from it exactly, and never a weight of the base."""

import json
import logging
import re
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import publish_file, temporary_name
from finetrail.training.checkpoints.attempts import ATTEMPTS, adopt_attempts
from finetrail.training.checkpoints.checkpoints import COMPLETE, IDENTITY, mark_complete

LIMIT = 500_000_000
"""Bytes that an artifact may have."""

# Pickled arguments with paths of this machine, and a note of the libraries: nothing goes on from them.
_LEFT_OUT = {"training_args.bin", "README.md", COMPLETE}
_RECORDS = (IDENTITY, ATTEMPTS, "steps.*.jsonl")
_ADAPTER = (
    "adapter_*",
    "stage1_*",
    "stage2_*",
    "cond_name_*",
    "tokenizer*",
    "chat_template*",
    "special_tokens_map.json",
)
_DEEPSPEED = "global_step*"  # holds the frozen weights as well
_MOMENT = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20
_STEP = re.compile(r"checkpoint-(\d+)/")

logger = logging.getLogger(__name__)


def zip_checkpoint(checkpoint: Path, out: Path, limit: int = LIMIT) -> bool:
    """Write a complete checkpoint of an adapter, and the records of the steps before it, as a zip file.

    Where that has too many bytes (the optimizer's state has twice the adapter's), or DeepSpeed wrote it, the adapter
    goes alone: it can be used, and no training can go on from it.

    Args:
        checkpoint: in its state directory.
        out: the zip file; the same files give the same bytes.
        limit: bytes that it may have.

    Returns:
        False where even the adapter alone has too many bytes: then nothing is written.
    """
    state = checkpoint.parent
    whole = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name not in _LEFT_OUT]
    records = [path for pattern in _RECORDS for path in sorted(state.glob(pattern))]
    alone = [path for pattern in _ADAPTER for path in sorted(checkpoint.glob(pattern))]
    choices = [alone] if any(checkpoint.glob(_DEEPSPEED)) else [whole + records, alone]
    for files in choices:
        if _write(files, state, out, limit):
            if files is alone:
                logger.warning("%s holds the adapter alone: no training can go on from it", out.name)
            return True
    logger.warning("%s has more than %d MB even alone: no artifact is made of it", checkpoint, limit // 10**6)
    return False


def _write(files: Iterable[Path], root: Path, out: Path, limit: int) -> bool:
    """Write a zip file, unless it gets too large."""
    temporary = temporary_name(out)
    try:
        if not _fill(files, root, temporary, limit):
            return False
        publish_file(temporary, out)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _fill(files: Iterable[Path], root: Path, file: Path, limit: int) -> bool:
    """Compress files one after another; stop where the limit is passed."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in files:
            info = zipfile.ZipInfo(path.relative_to(root).as_posix(), _MOMENT)
            info.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _CHUNK)
            if file.stat().st_size > limit:
                return False
    return file.stat().st_size <= limit


def unzip_checkpoint(file: Path, state_dir: Path) -> Path | None:
    """Put a checkpoint back into its state directory, as one that counts.

    Args:
        file: from `zip_checkpoint`.
        state_dir: of the same data and settings; records that are there stay, behind the attempts before them.

    Returns:
        The checkpoint; None where the file holds an adapter alone.

    Raises:
        FinetrailError: no zip file of ours, or one of other data or settings.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = [_checked(name, file) for name in archive.namelist()]
            if PurePosixPath(IDENTITY) not in names:
                return None
            _check_identity(archive, state_dir, file)
            for name in names:
                if name == PurePosixPath(ATTEMPTS):
                    adopt_attempts(state_dir, map(json.loads, archive.read(ATTEMPTS).splitlines()))
                    continue
                target = state_dir / name
                if len(name.parts) > 1 or not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name.as_posix()) as source, target.open("wb") as stream:
                        shutil.copyfileobj(source, stream, _CHUNK)
    except zipfile.BadZipFile as error:
        raise FinetrailError(f"is no artifact of a training: {error}", where=str(file)) from error
    checkpoint = state_dir / next(name.parts[0] for name in names if name.parts[0].startswith("checkpoint-"))
    mark_complete(checkpoint)
    return checkpoint


def zipped_step(file: Path) -> int | None:
    """Return the step of the checkpoint in a file of `zip_checkpoint`; None where it is no zip file, or holds none."""
    if not zipfile.is_zipfile(file):
        return None
    with zipfile.ZipFile(file) as archive:
        steps = (_STEP.match(name) for name in archive.namelist())
        return next((int(match[1]) for match in steps if match), None)


def _checked(name: str, file: Path) -> PurePosixPath:
    """Refuse a name that leads out of the state directory: an artifact comes from elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise FinetrailError(f"holds a file with the name {name!r}, which leads elsewhere", where=str(file))
    return path


def _check_identity(archive: zipfile.ZipFile, state_dir: Path, file: Path) -> None:
    known = json.loads((state_dir / IDENTITY).read_text(encoding="utf-8"))
    if json.loads(archive.read(IDENTITY))["identity"] != known["identity"]:
        raise FinetrailError("belongs to other data or settings", where=str(file))
