"""What the machine offers: device and number formats, chosen once and logged with the reason."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


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


def precision() -> Precision:
    """Choose by what torch sees: fp32 on a CPU, bf16 on a GPU that has it, else fp16 over fp32 weights."""
    import torch

    if not torch.cuda.is_available():
        chosen = Precision(True, torch.float32, False, False, "no GPU")
    elif torch.cuda.is_bf16_supported(including_emulation=False):
        chosen = Precision(False, torch.bfloat16, True, False, "the GPU has bf16")
    else:
        chosen = Precision(False, torch.float32, False, True, "the GPU has no bf16")
    logger.info("device %s, weights %s (%s)", "cpu" if chosen.use_cpu else "cuda", chosen.dtype, chosen.reason)
    return chosen
