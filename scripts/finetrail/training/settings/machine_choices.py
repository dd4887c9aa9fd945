"""The formats, kernels and batches chosen for a machine; each choice is logged with its reason."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from finetrail.errors import FinetrailError
from finetrail.training.settings.hardware import Format, Hardware, choose_format
from finetrail.training.settings.train_settings import TrainSettings

VARLEN = "varlen"  # as transformers is told, and as the choices of a training say

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choices:
    """What was chosen for this machine.

    Attributes:
        use_cpu: no GPU is there.
        precision: format of the arithmetic.
        compute: the same for a base of four bits.
        attention: form of attention, as transformers names it.
        liger: whether Liger's kernels are used.
        batch_size, gradient_accumulation, gradient_checkpointing: as set, or made to fit the memory.
        reasons: why, by the name of the setting.
    """

    use_cpu: bool
    precision: Format
    compute: Format
    attention: str
    liger: bool
    batch_size: int
    gradient_accumulation: int
    gradient_checkpointing: bool
    reasons: Mapping[str, str] = field(default_factory=dict)


def choose(settings: TrainSettings, hardware: Hardware, *, varlen: bool = False) -> Choices:
    """Choose formats and kernels for the settings on this machine; the batch stays as set.

    Args:
        settings, hardware: what was set, and what is there.
        varlen: whether the model's attention suits `finetrail.training.trainer.varlen`.

    Raises:
        FinetrailError: a setting needs a GPU, or one that has bf16 or a package, and there is none; or there are
            fewer GPUs than processes.
    """
    _refuse_missing(settings, hardware)
    arithmetic, why_arithmetic = choose_format(settings.precision, hardware)
    compute, why_compute = choose_format(settings.quantization.compute, hardware)
    attention, why_attention = _attention(settings, hardware, varlen and arithmetic != "fp32")
    liger, why_liger = _liger(settings, hardware)
    reasons = {"precision": why_arithmetic, "attention": why_attention, "liger": why_liger}
    if settings.method == "qlora":
        reasons["quantization.compute"] = why_compute
    return Choices(
        hardware.use_cpu,
        arithmetic,
        compute,
        attention,
        liger,
        settings.batch_size,
        settings.gradient_accumulation,
        settings.gradient_checkpointing,
        reasons,
    )


def log_choices(choices: Choices, hardware: Hardware) -> None:
    """Say what was chosen, and why."""
    logger.info("device: %s, %d GPUs, %.0f GB each", hardware.name, hardware.gpus, hardware.memory / 1e9)
    values = vars(choices)
    for name, reason in choices.reasons.items():
        logger.info("%s: %s (%s)", name, values.get(name.rpartition(".")[2], ""), reason)


def split_update(choices: Choices, batch_size: int, gradient_checkpointing: bool, reason: str) -> Choices:
    """Take the rows of an update in other batches; there are as many as before, whoever proposes the size.

    Args:
        choices: as they are.
        batch_size: rows that a process takes at once.
        gradient_checkpointing: whether activations are computed twice.
        reason: for the log.

    Raises:
        ValueError: the rows of an update are no whole number of such batches.
    """
    rows = choices.batch_size * choices.gradient_accumulation
    accumulation, rest = divmod(rows, batch_size)
    if rest:
        raise ValueError(f"{rows} rows of an update are no whole number of batches of {batch_size}")
    names = ("batch_size", "gradient_accumulation", "gradient_checkpointing")
    return replace(
        choices,
        batch_size=batch_size,
        gradient_accumulation=accumulation,
        gradient_checkpointing=gradient_checkpointing,
        reasons={**choices.reasons, **dict.fromkeys(names, reason)},
    )


def _refuse_missing(settings: TrainSettings, hardware: Hardware) -> None:
    wanted = {
        "precision: fp16": settings.precision == "fp16",
        "attention: flash_attention_2": settings.attention == "flash_attention_2",
        "liger: on": settings.liger == "on",
    }
    for name, needed in wanted.items():
        if needed and hardware.use_cpu:
            raise FinetrailError(
                f"`{name}` needs a GPU, and torch sees none",
                where="train.models",
                hint="Ask for one (resources.train_adapter.gpus), or choose `auto`",
            )
    if settings.attention == "flash_attention_2" and not hardware.flash_attention:
        _missing("attention: flash_attention_2", "a GPU of compute capability 8.0 and the package flash-attn")
    if settings.liger == "on" and not hardware.liger:
        _missing("liger: on", "the package liger-kernel")
    if settings.precision == "bf16" and not (hardware.use_cpu or hardware.bf16):
        _missing("precision: bf16", f"a GPU that computes in bf16, which {hardware.name} does not")
    if hardware.gpus and settings.launch.processes > hardware.gpus:
        raise FinetrailError(
            f"`launch.processes` is {settings.launch.processes}, and torch sees {hardware.gpus} GPUs",
            where="train.models",
            hint="Each process needs a GPU of its own: ask for more (resources.train_adapter.gpus), or lower it",
        )


def _missing(name: str, needed: str) -> None:
    raise FinetrailError(f"`{name}` needs {needed}", where="train.models", hint="Install it, or choose `auto`")


def _attention(settings: TrainSettings, hardware: Hardware, varlen: bool) -> tuple[str, str]:
    if settings.attention != "auto":
        return settings.attention, "as set"
    if hardware.flash_attention:
        return "flash_attention_2", "the GPU and the package are there"
    if varlen and hardware.varlen:
        return VARLEN, "torch's own FlashAttention, rows end to end"
    return "sdpa", "no GPU" if hardware.use_cpu else "no flash-attn for this GPU"


def _liger(settings: TrainSettings, hardware: Hardware) -> tuple[bool, str]:
    if settings.liger != "auto":
        return settings.liger == "on", "as set"
    if hardware.use_cpu:
        return False, "no GPU"
    return hardware.liger, "the package is there" if hardware.liger else "the package is not there"
