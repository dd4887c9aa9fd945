"""How much memory a training needs, estimated; used to fit the batch and to say what would help."""

import logging
from dataclasses import dataclass, replace
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.training.settings.machine_choices import Choices
from finetrail.training.settings.train_settings import TrainSettings
from finetrail.training.trainer.load_model import count_parameters

CHANGES_NO_RESULT = (
    "It proposes how to split the rows of an update for the memory of this GPU, as another GPU would split them, and"
    " says what would help; that an update sees the same rows `split_update` ensures."
)
_FREE = 0.9  # share of a GPU's memory that a training may fill
_LAYER_BYTES = 34  # a token, unit of width and layer of 16 bits keep so many bytes (Korthikanti et al. 2022)
_LOGIT_BYTES = 8  # logits and their gradients, in fp32
_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
_FOUR_BITS = 0.57  # bytes a weight, scales included
_OPTIMIZER_BYTES = {"adamw_bnb_8bit": 2, "paged_adamw_8bit": 0, "paged_adamw_32bit": 0}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shape:
    """What of a model decides its memory.

    Attributes:
        parameters, trainable: counts, the adapter's among both.
        layers, width, vocabulary: of the transformer.
        tied: whether the embeddings are the head as well.
    """

    parameters: int
    trainable: int
    layers: int
    width: int
    vocabulary: int
    tied: bool = False

    @property
    def never_quantized(self) -> int:
        """Weights that bitsandbytes leaves as they are: the embeddings and the head."""
        return self.vocabulary * self.width * (1 if self.tied else 2)


@dataclass(frozen=True)
class Need:
    """Bytes that one process needs."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def shape_of(config: Any, settings: TrainSettings) -> Shape:
    """Read the shape from a configuration of transformers, without weights."""
    text = config.get_text_config()
    trainable, parameters = count_parameters(config, settings)
    tied = bool(text.tie_word_embeddings)
    return Shape(parameters, trainable, text.num_hidden_layers, text.hidden_size, text.vocab_size, tied)


def estimate(settings: TrainSettings, choices: Choices, shape: Shape, tokens: int) -> Need:
    """Estimate what one process needs.

    Args:
        settings: method, formats, ZeRO.
        choices: batch and gradient checkpointing as they are.
        shape: of the model.
        tokens: of the longest row.

    Source: Korthikanti et al. 2022 (arXiv:2205.05198) for activations without attention's square (SDPA and
    FlashAttention keep none), Rajbhandari et al. 2020 (arXiv:1910.02054) for ZeRO's parts.
    """
    frozen, trained = shape.parameters - shape.trainable, shape.trainable
    kept = _BYTES[settings.weights] if settings.method == "full" else 4
    # As `finetrail.training.trainer.load_model.weights_dtype` loads it: without bf16, weights stay in fp32.
    whole = _BYTES["bf16" if choices.precision == "bf16" and not choices.use_cpu else "fp32"]
    packed = max(0, frozen - shape.never_quantized) if settings.method == "qlora" else 0
    stage, world = settings.launch.deepspeed_stage or 0, settings.launch.world
    offload = settings.launch.offload
    weights = (packed * _FOUR_BITS + (frozen - packed) * whole + trained * kept) / (world if stage == 3 else 1)
    gradients = trained * kept / (world if stage >= 2 else 1)
    optimizer = trained * _OPTIMIZER_BYTES.get(settings.optimizer, 2 * kept) / (world if stage >= 1 else 1)
    if offload != "none":
        optimizer = 0
    if offload == "all":
        weights = 0
    scale = _BYTES[choices.precision] / 2
    layers = shape.layers * 2 + _LAYER_BYTES if choices.gradient_checkpointing else shape.layers * _LAYER_BYTES
    a_token = layers * shape.width * scale + _LOGIT_BYTES * shape.vocabulary
    length = settings.limits.max_length if settings.packing else tokens
    return Need(weights, gradients, optimizer, choices.batch_size * length * a_token)


def propose_batch(
    settings: TrainSettings, choices: Choices, shape: Shape, tokens: int, memory: int
) -> tuple[int, bool, str]:
    """Find the largest batch of a process that fits its GPU; where none does, with gradient checkpointing.

    Args:
        settings, choices, shape, tokens: see `estimate`.
        memory: bytes of the GPU.

    Returns:
        The size, a divisor of the rows of an update, whether to checkpoint, and why: what was estimated.
    """
    rows = choices.batch_size * choices.gradient_accumulation
    sizes = [size for size in range(choices.batch_size, 0, -1) if rows % size == 0]
    for checkpointing in dict.fromkeys((choices.gradient_checkpointing, True)):
        for size in sizes:
            tried = replace(choices, batch_size=size, gradient_checkpointing=checkpointing)
            need = estimate(settings, tried, shape, tokens)
            if need.total <= _FREE * memory:
                return size, checkpointing, _reason(need, memory, "fits")
    return sizes[-1], True, _reason(need, memory, "the smallest there is; it may not fit")


def _reason(need: Need, memory: int, verdict: str) -> str:
    return f"about {need.total / 1e9:.1f} of {memory / 1e9:.0f} GB: {verdict}"


def out_of_memory(settings: TrainSettings, choices: Choices, shape: Shape, tokens: int) -> FinetrailError:
    """Say what an attempt that ran out of memory needed, and what each remedy would save."""
    need = estimate(settings, choices, shape, tokens)
    world = max(2, settings.launch.world)
    remedies = []
    if choices.batch_size > 1:
        half = replace(choices, batch_size=choices.batch_size // 2)
        saved = need.total - estimate(settings, half, shape, tokens).total
        remedies.append(f"`batch_size: {half.batch_size}` (accumulate twice as often) saves about {_gb(saved)}")
    length = max(1, (settings.limits.max_length if settings.packing else tokens) // 2)
    shorter = replace(settings, limits=replace(settings.limits, max_length=length))
    saved = need.total - estimate(shorter, choices, shape, length).total
    remedies.append(f"`limits.max_length: {length}` saves {_gb(saved)}")
    if not choices.gradient_checkpointing:
        kept = replace(choices, gradient_checkpointing=True)
        saved = need.total - estimate(settings, kept, shape, tokens).total
        remedies.append(f"`gradient_checkpointing: true` saves {_gb(saved)}")
    stage = 2 if settings.method == "qlora" else 3
    if (settings.launch.deepspeed_stage or 0) < stage:
        launch = replace(settings.launch, processes=world, nodes=1, deepspeed_stage=stage)
        saved = need.total - estimate(replace(settings, launch=launch), choices, shape, tokens).total
        remedies.append(f"`launch: {{processes: {world}, deepspeed_stage: {stage}}}` (ZeRO) saves {_gb(saved)}")
    parts = ", ".join(f"{name} {_gb(value)}" for name, value in vars(need).items())
    return FinetrailError(
        f"out of memory with {choices.batch_size} rows of up to {tokens} tokens a step: about {_gb(need.total)} are "
        f"needed ({parts})",
        where="train.models",
        hint="Estimates of what would help: " + "; ".join(remedies),
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of torch, DeepSpeed or Python says that memory ran out."""
    text = str(error)
    known = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(part in text for part in known)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
