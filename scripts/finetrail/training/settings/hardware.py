"""What the machine offers, and the formats and kernels chosen for it; each choice is logged with its reason."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from finetrail.errors import FinetrailError
from finetrail.training.settings.train_settings import TrainSettings

if TYPE_CHECKING:
    import torch

Format = Literal["bf16", "fp16", "fp32"]

VARLEN = "varlen"  # as transformers is told, and as the choices of a training say
_VISIBLE = "CUDA_VISIBLE_DEVICES"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hardware:
    """What one process has to itself.

    Attributes:
        name: of the GPU; ``cpu`` where there is none.
        gpus: how many GPUs this node offers.
        memory: bytes of one GPU; 0 on a CPU.
        bf16: whether the GPU computes in bf16.
        flash_attention, liger: whether the packages are there and the GPU can run them.
        varlen: whether the GPU can run torch's own FlashAttention.
    """

    name: str
    gpus: int
    memory: int
    bf16: bool
    flash_attention: bool
    liger: bool
    varlen: bool = False

    @property
    def use_cpu(self) -> bool:
        """No GPU is there."""
        return self.gpus == 0


@dataclass(frozen=True)
class Precision:
    """Where and in which formats a model is trained.

    Attributes:
        use_cpu: no GPU is there.
        dtype: of the frozen weights.
        bf16, fp16: mixed precision of the trainer; at most one is set.
        reason: why, in one clause.
    """

    use_cpu: bool
    dtype: "torch.dtype"
    bf16: bool
    fp16: bool
    reason: str


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


def detect() -> Hardware:
    """Ask torch and transformers what is there.

    Raises:
        FinetrailError: GPUs were named for this process, and torch does not see them all: not to train on a CPU, or on
            fewer, what was meant for them.
    """
    import torch
    from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available

    named, seen = _named_gpus(), torch.cuda.device_count()
    if seen < named:
        raise FinetrailError(
            f"{_VISIBLE} names {named} GPUs ({os.environ[_VISIBLE]}), and torch sees {seen}",
            where="train.gpus",
            hint="Name GPUs that `nvidia-smi` lists, or null for all. Where it lists them, driver and torch do not fit"
            " together: a torch for CPUs sees none",
        )
    if not torch.cuda.is_available():
        return Hardware("cpu", 0, 0, bf16=False, flash_attention=False, liger=False)
    device = torch.cuda.get_device_properties(0)
    return Hardware(
        device.name,
        torch.cuda.device_count(),
        device.total_memory,
        bf16=torch.cuda.is_bf16_supported(including_emulation=False),
        flash_attention=is_flash_attn_2_available() and device.major >= 8,
        liger=is_liger_kernel_available(),
        varlen=device.major >= 8,
    )


def _named_gpus() -> int:
    """Count the GPUs that the environment shows to this process, as CUDA reads it: up to the first that is none."""
    named = [entry.strip() for entry in os.environ.get(_VISIBLE, "").split(",")]
    return len(list(takewhile(lambda entry: entry.isdigit() or entry.startswith(("GPU-", "MIG-")), named)))


def precision() -> Precision:
    """Choose by what torch sees: fp32 on a CPU, bf16 on a GPU that has it, else fp16 over fp32 weights."""
    import torch

    chosen, reason = _precision("auto", detect())
    dtype = torch.bfloat16 if chosen == "bf16" else torch.float32
    formats = Precision(not torch.cuda.is_available(), dtype, chosen == "bf16", chosen == "fp16", reason)
    logger.info("device %s, weights %s (%s)", "cpu" if formats.use_cpu else "cuda", formats.dtype, formats.reason)
    return formats


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
    arithmetic, why_arithmetic = _precision(settings.precision, hardware)
    compute, why_compute = _precision(settings.quantization.compute, hardware)
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


def use_gpus(numbers: list[int] | None) -> None:
    """Show this process, and those that it starts, only these GPUs; under SLURM the allocation decides.

    Args:
        numbers: as ``nvidia-smi`` counts them; None for all. Must be called before torch is imported.
    """
    if numbers is None:
        return
    if "SLURM_JOB_ID" in os.environ:
        logger.info("train.gpus is not used: SLURM's allocation decides")
        return
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # otherwise CUDA counts the fastest one first
    os.environ[_VISIBLE] = ",".join(map(str, numbers))


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


def _precision(asked: str, hardware: Hardware) -> tuple[Format, str]:
    if asked == "bf16":
        return "bf16", "as set"
    if asked == "fp16":
        return "fp16", "as set"
    if asked == "fp32":
        return "fp32", "as set"
    if hardware.use_cpu:
        return "fp32", "no GPU"
    return ("bf16", "the GPU has bf16") if hardware.bf16 else ("fp16", "the GPU has no bf16")


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
