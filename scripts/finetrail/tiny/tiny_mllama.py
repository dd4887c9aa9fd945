"""A tiny Mllama (Llama-3.2-Vision): the small text model with one layer that looks at tiles of an image."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TILE, _PATCH, _TILES = 28, 14, 4  # pixels of a tile's and a patch's side, tiles of an image at most
_VISION_LAYERS = 2
_GATE = 0.5


def random_mllama(text: dict[str, Any]) -> "PreTrainedModel":
    """Initialise the model; depends on torch's global seed.

    Args:
        text: of a text model's configuration. The image token is the tokenizer's last: the head has no row for it.
            Behind the text layers stands one with cross-attention.
    """
    import torch
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    shape = {name: value for name, value in text.items() if name not in ("head_dim", "tie_word_embeddings", "dtype")}
    tokens, layers, width = shape["vocab_size"], shape["num_hidden_layers"], shape["hidden_size"]
    shape |= {"vocab_size": tokens - 1, "num_hidden_layers": layers + 1, "cross_attention_layers": [layers]}
    vision = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "attention_heads": shape["num_attention_heads"],
        "num_hidden_layers": _VISION_LAYERS,
        "num_global_layers": 1,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 2 * width,  # the last layer's and one inner layer's features side by side
        "image_size": _TILE,
        "patch_size": _PATCH,
        "max_num_tiles": _TILES,
        "initializer_range": shape["initializer_range"],
    }
    config = MllamaConfig(
        text_config=shape | {"tie_word_embeddings": False},
        vision_config=vision,
        image_token_index=tokens - 1,
        tie_word_embeddings=False,
        dtype=torch.float32,
    )
    model = MllamaForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("_gate"):
                weight.fill_(_GATE)  # published training starts at zero, but an adapter would never open it
    return model


def tie_head_once(model: "PreTrainedModel") -> None:
    """Start the head from the embeddings, which copying needs; Mllama cannot tie them."""
    import torch

    head = model.get_output_embeddings()
    with torch.no_grad():
        head.weight.copy_(model.get_input_embeddings().weight[: head.weight.shape[0]])


def save_image_processor(folder: Path) -> None:
    """Write the image processor of the tiny model's tiles."""
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    size = {"height": _TILE, "width": _TILE}
    MllamaImageProcessorPil(size=size, max_image_tiles=_TILES).save_pretrained(folder)
