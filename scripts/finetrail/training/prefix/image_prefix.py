"""A language model that reads a picture: soft tokens and the class's embedding stand before the prompt.

Source: the pipeline that the recipe reproduces; the form is that of prefix captioning (Mokady et al. 2021,
arXiv:2111.09734), with an adapter on the language model (Hu et al. 2021, arXiv:2106.09685).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.models.base import load_base
from finetrail.models.model_folder import read_adapter_config
from finetrail.rows.artifacts import read_json
from finetrail.vision.encoder_weights import read_weights
from finetrail.vision.image_encoder import CLASSES, Eyes, check_classes, train_last_blocks

if TYPE_CHECKING:
    import torch

    from finetrail.training.prefix.prefix_module import PrefixModel

MODULES, TUNED_ENCODER = "stage2_prefix_modules", "stage1_encoder_finetuned"
ADAPTER = "adapter_model"
_SUFFIXES = (".safetensors", ".bin", ".pt")


def build_prefix_model(llm: Any, eyes: Eyes, *, image_tokens: int, trainable_blocks: int) -> "PrefixModel":
    """Put an encoder before a language model; the prefix modules start from torch's global seed.

    Args:
        llm: a causal model, with or without an adapter.
        eyes: encoder and classes.
        image_tokens: soft tokens that a latent is projected to.
        trainable_blocks: last blocks of the encoder that are trained.
    """
    from finetrail.training.prefix.prefix_module import PrefixModel

    train_last_blocks(eyes.encoder, trainable_blocks)
    return PrefixModel(llm, eyes, image_tokens)


def save_prefix_model(model: Any, folder: Path) -> None:
    """Write adapter, prefix modules, the mapping of classes and, where it was tuned, the encoder."""
    from safetensors.torch import save_file

    model.llm.save_pretrained(folder)
    own = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name in ("image_projection", "class_embedding")
        for key, value in getattr(model, name).state_dict().items()
    }
    save_file(own, folder / f"{MODULES}.safetensors")
    if any(weight.requires_grad for weight in model.encoder.parameters()):
        tuned = {name: value.detach().cpu().contiguous().clone() for name, value in model.encoder.state_dict().items()}
        save_file(tuned, folder / f"{TUNED_ENCODER}.safetensors")
    ids = {name: number for number, name in enumerate(model.settings.classes)}
    (folder / CLASSES).write_text(json.dumps(ids, indent=1) + "\n", encoding="utf-8")


def load_prefix_weights(model: Any, folder: Path) -> None:
    """Put saved weights into a model that was built with an adapter of the same shape.

    Raises:
        FinetrailError: the folder was made under another mapping of classes, or lacks a file.
    """
    from peft import set_peft_model_state_dict

    check_classes(model.settings.classes, read_json(folder / CLASSES), str(folder))
    set_peft_model_state_dict(model.llm, read_weights(_file(folder, ADAPTER)))
    load_modules(model, read_weights(_file(folder, MODULES)), str(folder))
    if _exists(folder, TUNED_ENCODER):
        model.encoder.load_state_dict(read_weights(_file(folder, TUNED_ENCODER)))


def load_modules(model: Any, weights: Mapping[str, "torch.Tensor"], where: str) -> None:
    """Put prefix modules into a model, by what their names end with: other programs nest them otherwise.

    Raises:
        FinetrailError: a module is missing, or a name or a shape is not known.
    """
    own = {
        f"{name}.{key}": value
        for name in ("image_projection", "class_embedding")
        for key, value in getattr(model, name).state_dict().items()
    }
    found: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        kind = "class_embedding" if "class" in name or "cond" in name else "image_projection"
        ours = f"{kind}.{name.rpartition('.')[2]}"
        if ours not in own or ours in found or own[ours].shape != value.shape:
            raise FinetrailError(
                f"{name} {tuple(value.shape)} is no weight of the prefix: expected "
                + ", ".join(f"{key} {tuple(one.shape)}" for key, one in own.items()),
                where=where,
            )
        found[ours] = value
    if missing := sorted(own.keys() - found.keys()):
        raise FinetrailError(f"{', '.join(missing)} is missing among the prefix modules", where=where)
    for name in ("image_projection", "class_embedding"):
        module = getattr(model, name)
        module.load_state_dict({key: found[f"{name}.{key}"] for key in module.state_dict()})


def load_for_answers(base_dir: Path, eyes: Eyes, folder: Path | None, image_tokens: int) -> Any:
    """Load a tuned model, or the base behind an untrained prefix, for scoring and answering.

    Args:
        base_dir: the base model.
        eyes: encoder, classifier and classes.
        folder: what training published, or what the original pipeline saved; None for an untrained prefix.
        image_tokens: soft tokens of an image.
    """
    import torch
    from peft import get_peft_model

    from finetrail.training.settings.hardware import precision

    formats = precision()
    torch.manual_seed(0)
    llm = load_base(base_dir, formats.dtype)
    if folder is not None:
        llm = get_peft_model(llm, read_adapter_config(folder))
    model = build_prefix_model(llm, eyes, image_tokens=image_tokens, trainable_blocks=0)
    if folder is not None:
        load_prefix_weights(model, folder)
    return model.to("cpu" if formats.use_cpu else "cuda").eval()


def _exists(folder: Path, stem: str) -> bool:
    return any((folder / f"{stem}{suffix}").is_file() for suffix in _SUFFIXES)


def _file(folder: Path, stem: str) -> Path:
    found = next((folder / f"{stem}{suffix}" for suffix in _SUFFIXES if (folder / f"{stem}{suffix}").is_file()), None)
    if found is None:
        raise FinetrailError(f"there is no {stem} (.safetensors, .bin, .pt)", where=str(folder))
    return found
