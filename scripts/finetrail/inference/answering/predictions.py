"""What a model answers to test questions, and how likely it finds the original answers: the rows of predictions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from finetrail.examples.swapped_images import swapped_rows
from finetrail.inference.generate import Answer, LookUp, answer_sessions, load_model
from finetrail.inference.likelihood import AnswerLoss, answer_loss, option_losses
from finetrail.models.base_model import BaseModel
from finetrail.models.control_tokens import SetAside
from finetrail.models.image_inputs import Vision
from finetrail.models.limits import Limits
from finetrail.models.masks import choose_images, encode_row
from finetrail.retrieval.search_index import in_batches
from finetrail.rows.records import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


BATCH = 16
"""Rows that are looked up together, where their losses are measured."""


class Predictor(NamedTuple):
    """A model that is asked: its weights, its tokenizer, what it sees of a row, and how it is shown images."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    limits: Limits
    vision: Vision | None


def load_predictor(base: Path, adapter: Path | None, rows: Sequence[Row], settings: Mapping[str, Any]) -> Predictor:
    """Load a model for the rows that it will be asked.

    Args:
        base: folder of the base model, or of one that was trained whole.
        adapter: folder of the adapter; None for the base alone.
        rows: test rows.
        settings: the recipe's result keys: ``limits``, ``source.images``.

    Raises:
        FinetrailError: a row has an image that the model cannot read, and nothing allows to drop it.
    """
    limits, model = Limits(**settings["limits"]), BaseModel(base)
    vision = choose_images(rows, limits, model.vision(settings["source"]["images"]))
    return Predictor(load_model(base, adapter), model.tokenizer, limits, vision)


def described(loss: AnswerLoss) -> Row:
    """Return a loss as it is written."""
    return {"nats": round(loss.nats, 6), "tokens": loss.tokens}


class Counting(NamedTuple):
    """What is told of the work: it wraps the rows whose losses are measured; it is called with (answered, in all)."""

    losses: Callable[[Sequence[Row]], Iterator[Row]]
    turns: Callable[[int, int], None]


def predictions(
    asked: Predictor,
    rows: Sequence[Row],
    *,
    settings: Mapping[str, Any],
    counting: Counting,
    look_up: LookUp | None = None,
) -> Iterator[tuple[Row, Answer]]:
    """Yield the prediction of each test row, and the answer that it was made of.

    A row that the model cannot be shown keeps its prediction, with the reason as ``set_aside``: what could not be had
    of it is an empty answer, and None for a loss or for the options.

    Args:
        asked: the model.
        rows: the fold's test rows.
        settings: the recipe's result keys: ``predict``, ``evaluate.metric``.
        counting: what is told of the work.
        look_up: gives a row other evidence before it is answered, and before the loss of its own answer is measured;
            None for the evidence of the row.

    Raises:
        FinetrailError: see `finetrail.models.control_tokens.SetAside.check`.
    """
    model, tokenizer, limits, vision = asked
    aside = SetAside()
    losses = _losses(asked, counting.losses(rows), look_up, aside)
    others = {row["id"]: swapped_rows(row, rows) if vision and row.get("image") else [] for row in rows}
    with_others = (row | {"image": other["image"]} for row in rows for other in others[row["id"]])
    swapped = _losses(asked, with_others, look_up, aside)
    answers = answer_sessions(
        model,
        tokenizer,
        rows,
        limits=limits,
        max_answer_tokens=settings["predict"]["max_answer_tokens"],
        vision=vision,
        refusal=settings["predict"]["trivial_answer"] if settings["evaluate"]["metric"] == "turns" else None,
        look_up=look_up,
        progress=counting.turns,
    )
    for row, answer, loss in zip(rows, answers, losses, strict=True):
        if answer.set_aside is not None:
            aside.reasons[row["id"]] = answer.set_aside  # told by `answer_sessions`
        behind = [
            {"id": other["id"], "nats": round(found.nats, 6)}
            for other in others[row["id"]]
            if (found := next(swapped)) is not None
        ]
        prediction = {
            "id": row["id"],
            "parents": row["parents"],
            "group": row["group"],
            "session_id": row["session_id"],
            "turn": row["turn"],
            "answer": answer.text,
            "stopped": answer.stopped,
            **({} if answer.refusal_nats is None else {"refusal": {"nats": round(answer.refusal_nats, 6)}}),
            "loss": loss and described(loss),
            **({"swapped": behind} if vision is not None and row.get("image") is not None else {}),
            **({"options": _options(asked, row, answer, aside)} if "choice" in row else {}),
        }
        if row["id"] in aside.reasons:
            prediction["set_aside"] = aside.reasons[row["id"]]
        yield prediction, answer
    aside.check(len(rows))


def _losses(
    asked: Predictor, rows: Iterable[Row], look_up: LookUp | None, aside: SetAside
) -> Iterator[AnswerLoss | None]:
    """Measure the loss of each row's own answer, behind its gold history; None where the model cannot be shown it."""
    for row in rows if look_up is None else _looked_up(rows, look_up):
        loss = None
        with aside.unfit(row["id"]):
            if "unfit" in row:
                raise row["unfit"]
            encoded = encode_row(row, asked.tokenizer, asked.limits, vision=asked.vision)
            (loss,) = answer_loss(asked.model, [encoded], asked.vision)
        yield loss


def _options(asked: Predictor, row: Row, answer: Answer, aside: SetAside) -> list[Row] | None:
    """Measure the options of a choice behind what was said; None where they cannot be shown."""
    measured = None
    with aside.unfit(row["id"]):
        if answer.set_aside is None:
            found = option_losses(asked.model, asked.tokenizer, row, answer.text, asked.limits, asked.vision)
            measured = [described(loss) for loss in found]
    return measured


def _looked_up(rows: Iterable[Row], look_up: LookUp) -> Iterator[Mapping[str, Any]]:
    """Give rows the evidence that is found for them on the gold history; history and answer stay."""
    for batch in in_batches(rows, BATCH):
        for row, found in zip(batch, look_up(batch, [row["history"] for row in batch]), strict=True):
            if "unfit" in found:
                yield found
                continue
            *system, asks, _ = found["messages"]
            yield {**found, "messages": [*system, *row["history"], asks, row["messages"][-1]]}
