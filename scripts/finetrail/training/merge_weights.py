"""Merge a LoRA adapter into its base, in fp32, into a folder that any runtime loads."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from finetrail.models.base import copy_processor, load_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MERGED = "final_merged_checkpoint"


def merge_adapter(base_dir: Path, adapter_dir: Path, out_dir: Path) -> Path:
    """Merge and save weights (safetensors), tokenizer and chat template.

    Args:
        base_dir: the base that the adapter was trained on; it is loaded in fp32.
        adapter_dir: ``final_adapter/``, with the tokenizer beside the weights.
        out_dir: replaced if it exists.

    Returns:
        out_dir.
    """
    return save_merged(load_base(base_dir, "float32"), base_dir, adapter_dir, out_dir)


def save_merged(base: "PreTrainedModel", base_dir: Path, adapter_dir: Path, out_dir: Path) -> Path:
    """Merge an adapter into a loaded model, which is used up by it, and save the result.

    Args:
        base: `base_dir`, loaded in fp32.
        base_dir, adapter_dir, out_dir: see `merge_adapter`.
    """
    from peft import PeftModel
    from transformers import AutoTokenizer

    merged = PeftModel.from_pretrained(base, adapter_dir).merge_and_unload(safe_merge=True)
    shutil.rmtree(out_dir, ignore_errors=True)
    out_dir.mkdir(parents=True)
    merged.save_pretrained(out_dir)
    AutoTokenizer.from_pretrained(adapter_dir).save_pretrained(out_dir)
    copy_processor(base_dir, out_dir)
    return out_dir
