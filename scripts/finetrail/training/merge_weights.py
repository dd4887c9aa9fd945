"""Merge a LoRA adapter into its base, in fp32, into a folder that any runtime loads."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from finetrail.models.base import copy_processor, load_base
from finetrail.models.model_folder import load_adapter, read_tokenizer
from finetrail.models.released_names import name_as_released

if TYPE_CHECKING:
    from peft import PeftModel
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
    adapted = load_adapter(base, adapter_dir)
    _part_head(adapted)
    merged = adapted.merge_and_unload(safe_merge=True)
    shutil.rmtree(out_dir, ignore_errors=True)
    out_dir.mkdir(parents=True)
    merged.save_pretrained(out_dir)
    read_tokenizer(adapter_dir).save_pretrained(out_dir)
    name_as_released(out_dir)
    copy_processor(base_dir, out_dir)
    return out_dir


def _part_head(model: "PeftModel") -> None:
    """Give a tied head weights of its own where an adapter's matrices stand on it or on the embeddings.

    Merged into weights that both share, the change of one would be the other's as well.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    words, head = model.get_input_embeddings(), model.get_output_embeddings()
    if isinstance(words, BaseTunerLayer) or isinstance(head, BaseTunerLayer):
        head = head.get_base_layer() if isinstance(head, BaseTunerLayer) else head
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
