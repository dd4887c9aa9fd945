"""How likely a model finds the original answer of a row, given the gold history: held-out loss in nats."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetrail.training.masks import IGNORED, Example

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


def answer_loss(model: "PreTrainedModel", examples: Iterable[Example]) -> Iterator[AnswerLoss]:
    """Score the targets of encoded rows, one row at a time (a batch's padding would change the last digits).

    Args:
        model: on its device, in evaluation mode.
        examples: from `finetrail.training.masks.encode_row`.
    """
    import torch

    for example in examples:
        ids = torch.tensor([example.input_ids], device=model.device)
        labels = torch.tensor(example.labels[1:], device=model.device)
        carries = labels != IGNORED
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            chosen = torch.nn.functional.cross_entropy(logits[carries].float(), labels[carries], reduction="sum")
        yield AnswerLoss(example.row_id, float(chosen), int(carries.sum()))
