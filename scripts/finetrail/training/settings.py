"""The settings of the tiny base and of training, as plain values; the config model is mapped onto them."""

from dataclasses import dataclass, field
from typing import Literal

Architecture = Literal["llama", "mistral", "qwen2", "qwen3", "mllama"]
ARCHITECTURES: tuple[Architecture, ...] = ("llama", "mistral", "qwen2", "qwen3", "mllama")

Loss = Literal["answer", "assistant"]
"""Which of the assistant's turns carry loss: the last one, or all that are left in the row."""


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


@dataclass(frozen=True)
class Limits:
    """What of a row a model sees, the same in training, scoring and prediction.

    Attributes:
        max_length: tokens of prompt and target together; passages go, the last first, until a row fits.
        history_turns: how many of the latest exchanges stay in the prompt; None for all.
        history_answer_tokens: each earlier answer is cut to so many tokens; None for whole.
        images: ``drop`` shows the text of rows with images alone; ``show`` needs a vision model for them.
    """

    max_length: int = 1024
    history_turns: int | None = None
    history_answer_tokens: int | None = None
    images: Literal["show", "drop"] = "show"


@dataclass(frozen=True)
class TrainSettings:
    """How an adapter (or a whole model) is tuned.

    Attributes:
        mode: ``lora`` or ``full``.
        rank, alpha, dropout, target_modules: LoRA's; ``all-linear`` means every linear layer but the head.
        modules_to_save: modules trained whole beside the adapter.
        vision_layers: whether the adapter reaches into a vision model's image encoder.
        loss: which of the assistant's turns carry loss.
        packing: whether rows share sequences of ``limits.max_length``; batch_size then counts sequences.
        learning_rate, warmup_share, schedule, weight_decay, max_grad_norm: the optimizer's (AdamW).
        epochs: passes over the rows; used when max_steps is None.
        max_steps: optimizer steps; replaces epochs.
        batch_size, gradient_accumulation: rows per device and step, and steps summed before an update.
        limits: what of a row the model sees.
        gradient_checkpointing: trades time for memory.
        save_steps, save_total_limit: how often a checkpoint is written, and how many are kept.
        eval_steps: how often the evaluation loss is taken; None for the end only.
        seed: of the order of rows, dropout and the adapter's start.
    """

    mode: Literal["lora", "full"] = "lora"
    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05
    target_modules: str | tuple[str, ...] = "all-linear"
    modules_to_save: tuple[str, ...] = field(default=())
    vision_layers: bool = False
    loss: Loss = "answer"
    packing: bool = False
    learning_rate: float = 5e-5
    warmup_share: float = 0.05
    schedule: str = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 1
    gradient_accumulation: int = 8
    limits: Limits = field(default_factory=Limits)
    gradient_checkpointing: bool = False
    save_steps: int = 100
    save_total_limit: int = 2
    eval_steps: int | None = None
    logging_steps: int = 1
    seed: int = 42
