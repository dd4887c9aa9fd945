"""The settings of a tiny base, as plain values; the config model is mapped onto them."""

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["llama", "mistral", "qwen2", "qwen3", "mllama"]
ARCHITECTURES: tuple[Architecture, ...] = ("llama", "mistral", "qwen2", "qwen3", "mllama")


@dataclass(frozen=True)
class TinyBaseSettings:
    """Size and pre-training of a tiny base model.

    Attributes:
        vocabulary_size: tokens in all, control tokens included.
        hidden_size, intermediate_size, layers, heads, key_value_heads: the transformer's shape.
        context: the longest sequence, in tokens.
        steps: optimizer steps of pre-training, fixed.
        step_tokens: most tokens of a step's batch, padding included.
        learning_rate: the peak; it warms up over a twentieth of the steps and falls to a tenth by a cosine.
    """

    vocabulary_size: int = 1024
    hidden_size: int = 128
    intermediate_size: int = 384
    layers: int = 2
    heads: int = 4
    key_value_heads: int = 4
    context: int = 1024
    steps: int = 800
    step_tokens: int = 4096
    learning_rate: float = 3e-3
