"""How likely a model finds the original answer of a row, given the gold history: held-out loss in nats."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetrail.training.masks import IGNORED, Example
from finetrail.training.pictures import Vision

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class AnswerLoss:
    """Negative log-likelihood of one answer and its end-of-turn token.

    Attributes:
        row_id: the row's id.
        nats: summed over the tokens.
        tokens: how many tokens, the end of the turn included.
    """

    row_id: str
    nats: float
    tokens: int


def answer_loss(
    model: "PreTrainedModel", examples: Iterable[Example], vision: Vision | None = None
) -> Iterator[AnswerLoss]:
    """Score the targets of encoded rows, one row at a time (a batch's padding would change the last digits).

    Args:
        model: on its device, in evaluation mode.
        examples: from `finetrail.training.masks.encode_row`.
        vision: how their images are shown; None for the text alone.
    """
    import torch

    for example in examples:
        ids = torch.tensor([example.input_ids], device=model.device)
        labels = torch.tensor(example.labels[1:], device=model.device)
        carries = labels != IGNORED
        paths = [[image.path for image in example.images]]
        pixels = vision.tensors(paths, [example.input_ids]) if vision else {}
        shown = {name: tensor.to(model.device) for name, tensor in pixels.items()}
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False, **shown).logits[0, :-1]
            chosen = torch.nn.functional.cross_entropy(logits[carries].float(), labels[carries], reduction="sum")
        yield AnswerLoss(example.row_id, float(chosen), int(carries.sum()))
