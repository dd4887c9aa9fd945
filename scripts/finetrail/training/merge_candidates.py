"""Which weights an adapter of QLoRA is merged into: the base as it was published, or as training saw it.

Training saw a base of four bits. Merging into the published weights moves every layer by the rounding that the adapter
had learned to live with; merging into the dequantized ones keeps it, and may stand in the way of the export's own
quantization. So both are made, exported, and measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetrail.models.base import load_base
from finetrail.models.masks import IGNORED, Example
from finetrail.models.model_folder import load_adapter
from finetrail.training.merge_weights import merge_adapter, save_merged
from finetrail.training.settings.hardware import detect
from finetrail.training.settings.machine_choices import Choices, choose
from finetrail.training.settings.train_settings import Launch, TrainSettings
from finetrail.training.trainer.load_model import build_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Candidate = Literal["original", "dequantized"]
CANDIDATES: tuple[Candidate, ...] = ("original", "dequantized")


@dataclass(frozen=True)
class Target:
    """The first tokens of a row's answer: token ``ids[start + i]`` follows ``ids[: start + i]``.

    ``log_probs``: float32 [tokens, vocabulary], what the trained model says at each place.
    """

    row_id: str
    ids: list[int]
    start: int
    log_probs: "NDArray[np.float32]"


def merge_candidate(
    candidate: Candidate, base_dir: Path, adapter_dir: Path, settings: TrainSettings, out: Path
) -> Path:
    """Merge an adapter into one of the two bases, in fp32.

    Args:
        candidate: ``original``: the weights as published; ``dequantized``: through the four bits of the training.
        base_dir, adapter_dir, settings: of the training.
        out: replaced if it exists.
    """
    if candidate == "original":
        return merge_adapter(base_dir, adapter_dir, out)
    import torch

    base: Any = build_model(base_dir, settings, _choices(settings)).dequantize()
    return save_merged(base.to(device="cpu", dtype=torch.float32), base_dir, adapter_dir, out)


def trained_targets(
    base_dir: Path, adapter_dir: Path, settings: TrainSettings, examples: Sequence[Example], tokens: int
) -> list[Target]:
    """Ask the model as it was trained, adapter over four bits, for its distribution at each place of the answers.

    Args:
        base_dir, adapter_dir, settings: of the training.
        examples: encoded rows, with a target each.
        tokens: at most so many of each answer.
    """
    model: Any = load_adapter(build_model(base_dir, settings, _choices(settings)), adapter_dir)
    _compute_as_in_training(model)
    places = [(example, *_first_target(example, tokens)) for example in examples]
    return [Target(example.row_id, ids, start, _distribution(model, ids, start)) for example, start, ids in places]


def _choices(settings: TrainSettings) -> Choices:
    """Choose for this machine, which need not have the GPUs and kernels that trained."""
    asked = replace(settings, precision="auto", attention="auto", liger="auto", launch=Launch())
    return choose(asked, detect())


def _compute_as_in_training(model: Any) -> None:
    """Turn dropout off and leave four-bit layers in training mode: for inference on a CPU they round otherwise."""
    from bitsandbytes.nn import Linear4bit

    model.eval()
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.training = True


def _first_target(example: Example, tokens: int) -> tuple[int, list[int]]:
    start = next(place for place, label in enumerate(example.labels) if label != IGNORED)
    end = start
    while end < len(example.labels) and example.labels[end] != IGNORED and end - start < tokens:
        end += 1
    return start, example.input_ids[:end]


def _distribution(model: Any, ids: Sequence[int], start: int) -> "NDArray[np.float32]":
    import numpy as np
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False).logits
        found = torch.log_softmax(logits[0, start - 1 : -1].float(), dim=-1).cpu().numpy()
    return np.asarray(found, dtype=np.float32)


def ask_folder(folder: Path, targets: Sequence[Target]) -> Iterator["NDArray[np.float32]"]:
    """Yield what a merged model says to each target: the distributions of `Target`."""
    model = load_base(folder, "float32").eval()
    for target in targets:
        yield _distribution(model, target.ids, target.start)


def choose_merge(
    losses: Mapping[Candidate, Sequence[float]] | None, divergences: Mapping[Candidate, float]
) -> tuple[Candidate, str]:
    """Choose the better candidate: by dev loss where rows tell them apart, else by distance from the trained model.

    Args:
        losses: mean loss of each dev row (nats a token), rows in the same order; None where all rows are train rows.
        divergences: mean divergence from the trained model (nats a token).

    Returns:
        The candidate, and what decided: ``dev_loss`` where the mean difference over rows is more than twice its
        standard error, else ``kl``; ``train`` for the divergence on train rows.
    """
    nearest = min(CANDIDATES, key=divergences.__getitem__)
    if losses is None:
        return nearest, "train"
    first, second = CANDIDATES
    gaps = [mine - theirs for mine, theirs in zip(losses[first], losses[second], strict=True)]
    mean = sum(gaps) / len(gaps)
    error = (sum((gap - mean) ** 2 for gap in gaps) / max(1, len(gaps) - 1) / len(gaps)) ** 0.5
    if len(gaps) > 1 and abs(mean) > 2 * error:
        return (first if mean < 0 else second), "dev_loss"
    return nearest, "kl"
