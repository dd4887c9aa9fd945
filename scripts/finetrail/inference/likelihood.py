"""How likely a model finds an answer: the original one (held-out loss, in nats), or each option of a choice."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from finetrail.examples.choices import ANSWER, answer_text
from finetrail.models.control_tokens import plain_ids
from finetrail.models.image_inputs import Vision
from finetrail.models.limits import Limits
from finetrail.models.masks import IGNORED, Example, encode_row

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


def answer_loss(
    model: "PreTrainedModel", examples: Iterable[Example], vision: Vision | None = None
) -> Iterator[AnswerLoss]:
    """Score the targets of encoded rows, one row at a time (a batch's padding would change the last digits).

    Args:
        model: on its device, in evaluation mode.
        examples: from `finetrail.models.masks.encode_row`.
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


def option_losses(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    row: Mapping[str, Any],
    reply: str,
    limits: Limits,
    vision: Vision | None = None,
) -> list[AnswerLoss]:
    """Score each option of a multiple choice as the answer, behind what the model itself said before its answer.

    What stands before the options' ``Answer: `` is the same for all of them: its loss decides nothing, and is not
    counted.

    Args:
        model: on its device, in evaluation mode.
        tokenizer: with its chat template.
        row: a row of a fold that has a ``choice``; its own answer is not looked at.
        reply: what the model generated: what stands before its ``Answer: `` stays, and one without is left out.
        limits: as in training.
        vision: how the row's image is shown; None for the text alone.

    Raises:
        FinetrailError: prompt, reasoning and answer do not fit.
    """
    choice = row["choice"]
    reasoning, label, _ = reply.rpartition(ANSWER)
    head = reasoning if label else ""
    shared = len(plain_ids(tokenizer, head, where=str(row["id"]), role="assistant"))
    losses = []
    for index in range(len(choice["options"])):
        turn = {"role": "assistant", "content": f"{head}{ANSWER}{answer_text(choice, index)}"}
        example = encode_row({**row, "messages": [*row["messages"][:-1], turn]}, tokenizer, limits, vision=vision)
        losses.append(replace(example, labels=_without_first(example.labels, shared)))
    return list(answer_loss(model, losses, vision))


def _without_first(labels: Sequence[int], count: int) -> list[int]:
    """Let the first tokens of a target carry no loss, but for the last of them, which may differ with what follows."""
    start = next(place for place, label in enumerate(labels) if label != IGNORED)
    end = start + max(0, count - 1)
    return [*labels[:start], *[IGNORED] * (end - start), *labels[end:]]
