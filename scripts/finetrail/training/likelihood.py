"""How likely a model finds an answer: the original one (held-out loss, in nats), or each option of a choice."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetrail.text.choices import answer_text
from finetrail.training.masks import IGNORED, Example, encode_row
from finetrail.training.settings import Limits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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


def option_nats(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", row: Mapping[str, Any], limits: Limits
) -> list[float]:
    """Score each option of a multiple choice as the answer, ``Answer: `` before it: nats, the least is the likeliest.

    Args:
        model: on its device, in evaluation mode.
        tokenizer: with its chat template.
        row: a row of a fold that has a ``choice``; its own answer is not looked at.
        limits: as in training.
    """
    choice = row["choice"]
    answers = (f"Answer: {answer_text(choice, index)}" for index in range(len(choice["options"])))
    turns = ({"role": "assistant", "content": answer} for answer in answers)
    rows = ({**row, "messages": [*row["messages"][:-1], turn]} for turn in turns)
    return [loss.nats for loss in answer_loss(model, (encode_row(each, tokenizer, limits) for each in rows))]
