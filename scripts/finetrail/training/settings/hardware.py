"""What the machine offers, and the formats that suit it."""

import logging
import os
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    import torch

Format = Literal["bf16", "fp16", "fp32"]

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

    chosen, reason = choose_format("auto", detect())
    dtype = torch.bfloat16 if chosen == "bf16" else torch.float32
    formats = Precision(not torch.cuda.is_available(), dtype, chosen == "bf16", chosen == "fp16", reason)
    logger.info("device %s, weights %s (%s)", "cpu" if formats.use_cpu else "cuda", formats.dtype, formats.reason)
    return formats


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


def choose_format(asked: str, hardware: Hardware) -> tuple[Format, str]:
    """Return the format of the arithmetic, and why: what was asked for, or what suits the machine."""
    if asked == "bf16":
        return "bf16", "as set"
    if asked == "fp16":
        return "fp16", "as set"
    if asked == "fp32":
        return "fp32", "as set"
    if hardware.use_cpu:
        return "fp32", "no GPU"
    return ("bf16", "the GPU has bf16") if hardware.bf16 else ("fp16", "the GPU has no bf16")
