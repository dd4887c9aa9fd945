"""Answer conversations turn by turn, with its own earlier answers as history: as it will be deployed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetrail.chat.bounded_template import UnfitRow
from finetrail.chat.layouts import turn_of
from finetrail.chat.messages import Evidence, Message, chat_messages
from finetrail.errors import FinetrailError
from finetrail.inference.likelihood import answer_loss
from finetrail.models.base import load_base
from finetrail.models.chat_tokens import chat_tokens, pad_id
from finetrail.models.control_tokens import SetAside, control_tokens, plain_ids
from finetrail.models.image_inputs import Vision
from finetrail.models.limits import Limits
from finetrail.models.masks import IGNORED, Example, cut_text, prompt_ids, shorten_history
from finetrail.models.model_folder import load_adapter
from finetrail.training.settings.hardware import precision
from finetrail.vision.image import Image

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


LookUp = Callable[[Sequence[Mapping[str, Any]], Sequence[Sequence[Message]]], Sequence[Mapping[str, Any]]]
"""Rows, and the history of each → the rows with other evidence, the prompt that shows it, and a ``lookup`` of how.

A row that the model cannot be shown comes back with the cause, an `UnfitRow`, as ``unfit``.
"""


@dataclass(frozen=True)
class Prompt:
    """What one row asks.

    Attributes:
        ids: up to where the answer begins.
        images: in the order of their tokens.
        dropped_passages: how many passages were left out.
        control_texts: how many control tokens stand in the messages, and are shown as plain text.
    """

    ids: list[int]
    images: tuple[Image, ...]
    dropped_passages: int
    control_texts: int = 0


@dataclass(frozen=True)
class Answer:
    """What the model said to one row.

    Attributes:
        row_id: the row's id.
        text: the answer without control tokens.
        stopped: ``eos`` when the model ended its turn, ``length`` when it was cut.
        dropped_passages: passages left out so that the prompt fits.
        control_texts: control tokens that stand in what was shown, and are words to the model.
        refusal_nats: minus the logarithm of the probability that it had said the refusal; None where none was named.
        lookup: how the evidence was found, where it was looked up.
        set_aside: why the model cannot be shown the row; None where it was asked.
    """

    row_id: str
    text: str
    stopped: Literal["eos", "length", "set_aside"]
    dropped_passages: int
    control_texts: int = 0
    refusal_nats: float | None = None
    lookup: Mapping[str, Any] | None = None
    set_aside: str | None = None


def load_model(folder: Path, adapter: Path | None = None) -> "PreTrainedModel":
    """Load a model for scoring and answering, with an adapter on top where one is given.

    The weights are fp32 on a CPU and bf16 on a GPU that has it.
    """
    formats = precision()
    model = load_base(folder, formats.dtype)
    if adapter is not None:
        model = load_adapter(model, adapter)
    return model.to("cpu" if formats.use_cpu else "cuda").eval()


def answer_sessions(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[Mapping[str, Any]],
    *,
    limits: Limits,
    max_answer_tokens: int = 75,
    batch_size: int = 16,
    vision: Vision | None = None,
    refusal: str | None = None,
    look_up: LookUp | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Answer every row greedily; turn t of all sessions goes in left-padded batches before turn t + 1.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: with its chat template.
        rows: ``id``, ``session_id``, ``turn``, ``question``, ``evidence`` and ``messages`` (for the system message
            and the last user's turn: gold history and answer are not looked at). A session's rows may stand anywhere.
        limits: as in training; passages are dropped until prompt and answer fit.
        max_answer_tokens: an answer ends there, also as history of the next turn.
        batch_size: rows at once. Batches are made in row order, so that the same rows give the same answers;
            another size may flip a token where two are equally likely.
        vision: how images are shown; None for the text alone.
        refusal: the answer whose probability is measured behind each prompt, one row at a time.
        look_up: gives the rows of a batch other evidence before they are answered; None for what they show.
        progress: called with (rows answered, rows in all).

    Returns:
        One answer a row, in the order of the rows. A row that the model cannot be shown is set aside: it gets an empty
        one, and is no history of the next turn.

    Raises:
        FinetrailError: a prompt does not fit even without evidence, a turn occurs twice in a session, or
            `finetrail.models.control_tokens.SetAside.check`.
    """
    answers: dict[str, Answer] = {}
    aside = SetAside()
    refusing = _target(refusal, tokenizer) if refusal is not None else None
    own: dict[str, list[Message]] = {}
    for wave in _waves(rows):
        for start in range(0, len(wave), batch_size):
            batch: Sequence[Mapping[str, Any]] = wave[start : start + batch_size]
            earlier = [own.get(row["session_id"], []) for row in batch]
            batch = look_up(batch, earlier) if look_up is not None else batch
            asked: list[tuple[Mapping[str, Any], Prompt]] = []
            for row, history in zip(batch, earlier, strict=True):
                with aside.unfit(row["id"]):
                    if "unfit" in row:
                        raise row["unfit"]
                    asked.append((row, fit_prompt(row, history, tokenizer, limits, max_answer_tokens, vision)))
            prompts = [prompt for _, prompt in asked]
            replies = reply_greedily(model, tokenizer, prompts, max_answer_tokens, vision) if prompts else []
            for (row, prompt), (text, stopped) in zip(asked, replies, strict=True):
                nats = _nats(model, prompt, refusing, vision) if refusing is not None else None
                lookup = row.get("lookup")
                answers[row["id"]] = Answer(
                    row["id"], text, stopped, prompt.dropped_passages, prompt.control_texts, nats, lookup
                )
                own.setdefault(row["session_id"], []).extend(
                    [
                        Message(role="user", content=row["question"]),
                        Message(role="assistant", content=_as_history(text, tokenizer, max_answer_tokens)),
                    ]
                )
            if progress is not None:
                progress(len(answers) + len(aside.reasons), len(rows))
    aside.check(len(rows))
    unasked = {name: Answer(name, "", "set_aside", 0, set_aside=reason) for name, reason in aside.reasons.items()}
    return [(answers | unasked)[row["id"]] for row in rows]


def _as_history(text: str, tokenizer: "PreTrainedTokenizerBase", tokens: int) -> str:
    """Cut an answer as history of the next turn; of one that cannot be shown again, that turn is set aside."""
    try:
        return cut_text(text, tokenizer, tokens)
    except UnfitRow:
        return text


def _waves(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The first turn of every session, then the second of every session, and so on."""
    sessions: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        sessions.setdefault(row["session_id"], []).append(row)
    for name, turns in sessions.items():
        turns.sort(key=lambda row: int(row["turn"]))
        if len({row["turn"] for row in turns}) < len(turns):
            raise FinetrailError("a turn occurs twice in the session", where=name)
    deepest = max((len(turns) for turns in sessions.values()), default=0)
    return [[turns[depth] for turns in sessions.values() if depth < len(turns)] for depth in range(deepest)]


def fit_prompt(
    row: Mapping[str, Any],
    history: Sequence[Message],
    tokenizer: "PreTrainedTokenizerBase",
    limits: Limits,
    max_answer_tokens: int,
    vision: Vision | None,
) -> Prompt:
    """Lay out the prompt of a row, with as many passages as fit before the longest answer.

    Args:
        row: as in `answer_sessions`.
        history: earlier exchanges, which stand for those of the row.
        tokenizer: with its chat template.
        limits: as in training.
        max_answer_tokens: the longest answer.
        vision: how the row's image is shown.

    Raises:
        FinetrailError: it does not fit even without passages.
        UnfitRow: see `finetrail.models.masks.prompt_ids`.
    """
    first = row["messages"][0]
    system = first["content"] if first["role"] == "system" else ""
    evidence = row.get("evidence") or []
    where = str(row["id"])
    images = vision.images_of(row) if vision else ()
    for kept in range(len(evidence), -1, -1):
        messages = chat_messages(system, history, row["question"], evidence[:kept], None)
        # As it was laid out, which need not be as a question.
        messages[-1] = row["messages"][-2] if kept == len(evidence) else _fewer(row, evidence[:kept])
        messages = shorten_history(messages, tokenizer, limits)
        ids = prompt_ids(messages, tokenizer, where=where, images=len(images))
        if len(ids) + max_answer_tokens <= limits.max_length:
            return Prompt(ids, images, len(evidence) - kept, control_tokens(tokenizer).count(messages))
    raise FinetrailError(
        f"the prompt has {len(ids)} tokens without any evidence, and {max_answer_tokens} for the answer"
        f" do not fit into {limits.max_length}",
        where=where,
        hint="Raise max_length, or lower history_turns",
    )


def _target(text: str, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids of an answer and of the end of its turn."""
    return [*plain_ids(tokenizer, text, where="predict.trivial_answer"), chat_tokens(tokenizer).end]


def _nats(model: "PreTrainedModel", prompt: Prompt, target: list[int], vision: Vision | None) -> float:
    """Return how unlikely an answer is behind a prompt."""
    labels = [IGNORED] * len(prompt.ids) + target
    example = Example("", prompt.ids + target, labels, prompt.dropped_passages, prompt.images)
    (loss,) = answer_loss(model, [example], vision)
    return loss.nats


def _fewer(row: Mapping[str, Any], evidence: Sequence[Evidence]) -> Message:
    return Message(role="user", content=turn_of(row, evidence))


def reply_greedily(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Prompt],
    max_answer_tokens: int,
    vision: Vision | None,
) -> list[tuple[str, Literal["eos", "length"]]]:
    """Generate for prompts padded on the left to [rows, longest]; the most likely token each time.

    Returns:
        for each prompt what the model says, without control tokens, and whether it ended its turn or was cut.
    """
    import torch

    longest = max(len(prompt.ids) for prompt in prompts)
    pad, end = pad_id(tokenizer), chat_tokens(tokenizer).end
    padded = [[pad] * (longest - len(prompt.ids)) + prompt.ids for prompt in prompts]
    attended = [[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts]
    paths = [[image.path for image in prompt.images] for prompt in prompts]
    pixels = vision.tensors(paths, padded) if vision else {}
    with torch.inference_mode():
        made = model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(attended, device=model.device),
            **{name: tensor.to(model.device) for name, tensor in pixels.items()},
            do_sample=False,
            max_new_tokens=max_answer_tokens,
            eos_token_id=end,
            pad_token_id=pad,
        )
    replies: list[tuple[str, Literal["eos", "length"]]] = []
    for ids in made[:, longest:].tolist():
        said = ids[: ids.index(end)] if end in ids else ids
        text = tokenizer.decode(said, skip_special_tokens=True).strip()
        replies.append((text, "eos" if end in ids else "length"))
    return replies
