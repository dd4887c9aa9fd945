"""What a model's ``config.json`` says, in GGUF's terms; what is not known is refused by name."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.models.model_folder import read_config

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter
    from numpy.typing import NDArray

# Hugging Face architecture -> GGUF architecture. Mistral is Llama to llama.cpp.
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
_ROPE_TYPES = ("default", "linear", "llama3")


@dataclass(frozen=True)
class ModelShape:
    """A decoder's sizes and rotary settings; ``rope`` holds the type's own numbers (``factor`` ...)."""

    architecture: str
    vocabulary: int
    context: int
    width: int
    feed_forward: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    norm_epsilon: float
    tied: bool
    rope_type: str
    rope_base: float
    rope: dict[str, float]


def read_shape(model_dir: Path) -> ModelShape:
    """Read a Hugging Face folder's configuration.

    Raises:
        FinetrailError: no configuration, or something in it that is not known: the architecture, quantized
            weights, a sliding window, a rope type, a partial rotary factor, an activation.
    """
    where = str(model_dir / "config.json")
    if not (model_dir / "config.json").is_file():
        raise FinetrailError("there is no config.json", where=str(model_dir), hint="Give a merged model folder")
    config: Any = read_config(model_dir)
    name = (config.architectures or ["none"])[0]
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        hint = f"Known are {known}. Use export.format: safetensors, or llama.cpp's convert_hf_to_gguf.py"
        raise FinetrailError(f"the architecture {name} cannot be written as GGUF", where=where, hint=hint)
    _refuse_unknown(config, where)
    rope = dict(config.rope_parameters)
    rope_type = str(rope.pop("rope_type", "default"))
    if rope_type not in _ROPE_TYPES:
        raise FinetrailError(
            f"the rope type {rope_type!r} is not known",
            where=where,
            hint=f"Known are {', '.join(_ROPE_TYPES)}",
        )
    if float(rope.pop("partial_rotary_factor", 1.0)) != 1.0:
        raise FinetrailError("a partial rotary factor is not known", where=where)
    heads = int(config.num_attention_heads)
    return ModelShape(
        architecture=ARCHITECTURES[name],
        vocabulary=int(config.vocab_size),
        context=int(config.max_position_embeddings),
        width=int(config.hidden_size),
        feed_forward=int(config.intermediate_size),
        layers=int(config.num_hidden_layers),
        heads=heads,
        key_value_heads=int(config.num_key_value_heads or heads),
        head_width=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        norm_epsilon=float(config.rms_norm_eps),
        tied=bool(config.tie_word_embeddings),
        rope_type=rope_type,
        rope_base=float(rope.pop("rope_theta")),
        rope={key: float(value) for key, value in rope.items() if isinstance(value, int | float)},
    )


def _refuse_unknown(config: Any, where: str) -> None:
    """Refuse the settings whose loss a converted file would not show."""
    if getattr(config, "quantization_config", None):
        raise FinetrailError("the weights are quantized", where=where, hint="Merge into the dequantized base first")
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        hint = "Set sliding_window to null if no context is ever longer than the window"
        raise FinetrailError(f"a sliding window of {window} tokens is not known", where=where, hint=hint)
    if config.hidden_act != "silu":
        raise FinetrailError(f"the activation {config.hidden_act!r} is not known", where=where)


def add_shape(writer: "GGUFWriter", shape: ModelShape) -> None:
    """Write the model's sizes and rotary settings as GGUF metadata."""
    from gguf import RopeScalingType

    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    if shape.rope_type == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(shape.rope["factor"])


def rope_factors(shape: ModelShape) -> "NDArray[np.float32] | None":
    """Compute what llama.cpp divides the rotary frequencies by: float32 [head_width / 2]; None: by 1.

    Source: Llama 3.1's rotary scaling (long waves are stretched by ``factor``, short ones stay).
    """
    import numpy as np

    if shape.rope_type != "llama3":
        return None
    factor = shape.rope["factor"]
    low, high = shape.rope["low_freq_factor"], shape.rope["high_freq_factor"]
    trained = shape.rope["original_max_position_embeddings"]
    factors = []
    for pair in range(shape.head_width // 2):
        wavelength = 2 * math.pi * shape.rope_base ** (2 * pair / shape.head_width)
        # 1 where the wave fits `high` times or more into the trained context, 0 where `low` times or less.
        kept = min(1.0, max(0.0, (trained / wavelength - low) / (high - low)))
        factors.append(1 / ((1 - kept) / factor + kept))
    return np.array(factors, dtype=np.float32)
