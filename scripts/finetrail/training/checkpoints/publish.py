"""The result folder of a finished training, taken from its best or last checkpoint without loading a model."""

import shutil
from pathlib import Path

from finetrail.errors import FinetrailError

ADAPTER = "final_adapter"
CHECKPOINT = "final_checkpoint"
# What a checkpoint holds besides the model: to go on training, and for people.
_NOT_THE_MODEL = (
    "complete.json", "trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "latest",
    "zero_to_fp32.py", "README.md",
)  # fmt: skip


def publish_checkpoint(checkpoint: Path, out_dir: Path, *, adapter: bool) -> Path:
    """Copy weights, configuration and tokenizer.

    Args:
        checkpoint: complete.
        out_dir: gets ``final_adapter/`` or ``final_checkpoint/``; one that is there is replaced.
        adapter: which of the two.

    Raises:
        FinetrailError: the checkpoint holds no weights.
    """
    target = out_dir / (ADAPTER if adapter else CHECKPOINT)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    files = [path for path in checkpoint.iterdir() if path.is_file() and _of_the_model(path.name)]
    for path in files:
        shutil.copyfile(path, target / path.name)
    if not any(path.suffix == ".safetensors" for path in files):
        raise FinetrailError("the checkpoint holds no weights", where=str(checkpoint))
    return target


def _of_the_model(name: str) -> bool:
    return name not in _NOT_THE_MODEL and not name.startswith("rng_state")
