"""The result folder of a finished training, taken from its best or last checkpoint without loading a model."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.models.released_names import name_as_released
from finetrail.rows.artifacts import read_json, write_json

ADAPTER = "final_adapter"
CHECKPOINT = "final_checkpoint"
ADAPTER_CONFIG = "adapter_config.json"
LEAST_PEFT = "0.4.0"  # the first that reads safetensors
TYING_PEFT = "0.14.0"  # the first that passes over `ensure_weight_tying`; the weights of both sides are in the file
# What every version of PEFT knows, and other programs look for.
_FIRST_KEYS = frozenset({
    "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha",
    "lora_dropout", "modules_to_save", "peft_type", "r", "target_modules", "task_type",
})  # fmt: skip
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
    name_as_released(target)
    if adapter:
        write_json(target / ADAPTER_CONFIG, short_config(read_json(target / ADAPTER_CONFIG)))
    return target


def short_config(written: Mapping[str, Any]) -> dict[str, Any]:
    """Leave newer keys out of an adapter's configuration where they say nothing: older versions of PEFT stop at them.

    Args:
        written: as PEFT writes it, with every key that it knows.
    """
    from peft import LoraConfig

    defaults = LoraConfig().to_dict()
    return {key: value for key, value in written.items() if key in _FIRST_KEYS or value != defaults.get(key)}


def least_peft(adapter: Path) -> str:
    """Return the least version of PEFT that loads a published adapter as it was trained."""
    return TYING_PEFT if read_json(adapter / ADAPTER_CONFIG).get("ensure_weight_tying") else LEAST_PEFT


def _of_the_model(name: str) -> bool:
    return name not in _NOT_THE_MODEL and not name.startswith("rng_state")
