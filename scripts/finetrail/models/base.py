"""Load a base model as what it is: text or vision, with embeddings for all tokens of its tokenizer."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.models.model_folder import load_weights, read_config, read_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

PROCESSOR = "preprocessor_config.json"
# Mllama's embeddings have rows of their own for the image token and its neighbours, which its head does not have.
_MORE_ROWS = {"mllama": 8}


def load_base(folder: Path, dtype: "Any", **options: Any) -> "PreTrainedModel":
    """Load a model; tokens that were added to its tokenizer get the mean of all embeddings.

    Args:
        folder: model and tokenizer in the layout of the transformers library.
        dtype: of the weights.
        options: of ``from_pretrained``.
    """
    config = read_config(folder)
    model: PreTrainedModel = load_weights(model_class(config), folder, dtype=dtype, **options)
    if (folder / "tokenizer_config.json").is_file():
        tokens = len(read_tokenizer(folder))
        if tokens > model.get_input_embeddings().num_embeddings:
            _add_rows(model, tokens)
    if is_vision(config):
        _blind_text_rows(model)
    return model


def copy_processor(base_dir: Path, folder: Path) -> None:
    """Copy the image processor's settings beside weights that were made of a base; a text model has none."""
    if (base_dir / PROCESSOR).is_file():
        shutil.copyfile(base_dir / PROCESSOR, folder / PROCESSOR)


def model_class(config: "PreTrainedConfig") -> Any:
    """Return the class that builds a model: AutoModelForCausalLM would silently make a vision model's text half."""
    import transformers

    return transformers.AutoModelForImageTextToText if is_vision(config) else transformers.AutoModelForCausalLM


def _blind_text_rows(model: "PreTrainedModel") -> None:
    """Let rows without an image pass by the layers that look at images, also where their batch has images.

    The library's Mllama masks such rows to "see nothing" by a mask of zeros, which attention takes for "see all": a row
    would mean something else in a mixed batch than alone. (Rows with an image are left as the library has them.)
    """
    for layer in model.modules():
        if hasattr(layer, "cross_attn_attn_gate"):
            layer.register_forward_hook(_pass_by, with_kwargs=True)


def _pass_by(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Return what came in for the rows of which no token may look at an image."""
    import torch

    allowed = kwargs.get("full_text_row_masked_out_mask")  # [rows, 1, tokens, 1]
    if allowed is None:
        return output
    came_in = args[0] if args else kwargs["hidden_states"]
    return torch.where(allowed[:, 0].any(dim=1, keepdim=True), output, came_in)


def is_vision(config: "PreTrainedConfig") -> bool:
    """Whether a model of this configuration is shown images."""
    return getattr(config, "vision_config", None) is not None


def embedding_rows(config: "PreTrainedConfig") -> int:
    """Return how many tokens a model of this configuration has embeddings for."""
    return int(config.get_text_config().vocab_size) + _MORE_ROWS.get(config.model_type, 0)


def _add_rows(model: "PreTrainedModel", tokens: int) -> None:
    """Give new tokens the mean embedding: the library's default draws at random, each time anew."""
    import torch

    known = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(tokens, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[known:] = layer.weight[:known].mean(dim=0)


def adapter_targets(
    model: "PreTrainedModel", targets: str | tuple[str, ...], *, vision_layers: bool
) -> str | tuple[str, ...]:
    """Keep an adapter out of a vision model's image encoder, which holds modules of the same names.

    Args:
        model: the base.
        targets: names of linear layers, or ``all-linear``.
        vision_layers: whether the encoder and the projector to the language model get adapters too.

    Returns:
        The targets as they are for a text model; a regular expression over whole module names for a vision model.

    Raises:
        FinetrailError: the model has no such layers.
    """
    import torch

    if not is_vision(model.config):
        return targets
    halves = ("language_model", "vision_model") if vision_layers else ("language_model",)
    found = [name.split(".") for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    inside = {parts[-1] for parts in found if set(halves) & set(parts[:-1])}
    chosen = sorted(inside if targets == "all-linear" else inside & set(targets))
    if not chosen:
        raise FinetrailError(f"the model has none of the layers {targets}", where="target_modules")
    pattern = rf"(?:.*\.)?(?:{'|'.join(halves)})\..*\.(?:{'|'.join(chosen)})"
    return rf"{pattern}|(?:.*\.)?multi_modal_projector" if vision_layers and targets == "all-linear" else pattern
