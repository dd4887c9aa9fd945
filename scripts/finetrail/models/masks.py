"""Turn chat rows into token ids and labels: the assistant's last turn carries loss, or all of its turns do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetrail.chat.bounded_template import TemplateFault, UnfitRow
from finetrail.chat.layouts import turn_of, without_a_passage
from finetrail.chat.messages import Evidence, Message
from finetrail.errors import FinetrailError
from finetrail.models.chat_tokens import chat_tokens, without_thoughts
from finetrail.models.control_tokens import THOUGHTS, ChatIds, SetAside, chat_ids, control_tokens, plain_ids
from finetrail.models.image_inputs import IMAGE_TOKEN, Vision
from finetrail.models.limits import Limits, Loss
from finetrail.vision.image import Image

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that carries no loss (torch's cross entropy skips it)."""


@dataclass(frozen=True)
class Example:
    """A row as the model sees it.

    Attributes:
        row_id: the row's id.
        input_ids: prompt and target; nothing follows the end-of-turn token.
        labels: as long as input_ids; IGNORED but for what is learned.
        dropped_passages: how many passages of the evidence were left out so that the row fits.
        images: the row's images, in the order of their tokens.
        messages: what is shown of the row's messages, without images.
        control_texts: how many control tokens stand in the messages, and are shown as plain text.
    """

    row_id: str
    input_ids: list[int]
    labels: list[int]
    dropped_passages: int
    images: tuple[Image, ...] = ()
    messages: tuple[Message, ...] = ()
    control_texts: int = 0

    @property
    def prompt_ids(self) -> list[int]:
        """The ids before the last answer."""
        last = max(place for place, label in enumerate(self.labels) if label == IGNORED)
        return self.input_ids[: last + 1]

    @property
    def target_tokens(self) -> int:
        """How many tokens carry loss: the answer's and the end of the turn."""
        return sum(label != IGNORED for label in self.labels)


def refuse_images(rows: Iterable[Mapping[str, Any]]) -> None:
    """Stop before a model that reads text only is trained on images or asked about them.

    Raises:
        FinetrailError: names the first such row.
    """
    for row in rows:
        if row.get("image") is not None:
            raise FinetrailError(
                "the question is about an image, and this model reads text only",
                where=str(row["id"]),
                hint="Choose a vision model, or set limits.images to `drop` to show the text alone",
            )


def encode_row(
    row: Mapping[str, Any],
    tokenizer: "PreTrainedTokenizerBase",
    limits: Limits,
    *,
    loss: Loss = "answer",
    vision: Vision | None = None,
) -> Example:
    """Encode one training or evaluation row, leaving out its last passages until it fits.

    Args:
        row: ``id``, ``messages`` (the last is the assistant's target) and, where passages may be dropped,
            ``question`` and ``evidence``, from which the last user turn was laid out; ``image`` where there is one.
        tokenizer: with its chat template.
        limits: how much history and how many tokens a row may have.
        loss: whether the last answer carries loss, or every turn of the assistant that is left in the row.
        vision: how the model is shown the row's image; None for the text alone.

    Raises:
        FinetrailError: the row does not fit even without evidence, its last turn is not the assistant's, or its image
            cannot be read.
        UnfitRow: as `finetrail.models.control_tokens.chat_ids`, or the chat template renders the row so that prompt and
            target cannot be told apart.
    """
    row_id = str(row["id"])
    messages = shorten_history(row["messages"], tokenizer, limits)
    if not messages or messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        raise FinetrailError("the last message is not an answer of the assistant", where=row_id)
    images = vision.images_of(row) if vision else ()
    evidence: Sequence[Evidence] = row.get("evidence") or []
    shorter: Sequence[Evidence] = evidence
    for kept in range(len(evidence), -1, -1):
        if kept < len(evidence):
            messages, shorter = _with_fewer_passages(messages, row, shorter)
        labelled = _answer_labels if loss == "answer" else _assistant_labels
        ids, labels = labelled(messages, tokenizer, row_id, len(images))
        if len(ids) <= limits.max_length:
            texts = control_tokens(tokenizer).count(messages)
            return Example(row_id, ids, labels, len(evidence) - kept, images, tuple(messages), texts)
    raise FinetrailError(
        f"the row has {len(ids)} tokens without any evidence, the limit is {limits.max_length}",
        where=row_id,
        hint="Raise max_length, or lower history_turns",
    )


@dataclass(frozen=True)
class EncodedRows:
    """Rows as the model sees them.

    Attributes:
        examples: of the rows that are kept.
        dropped_images: rows whose image is not shown, by ``limits.images``.
        set_aside: rows that this model cannot be shown: id → reason.
    """

    examples: list[Example]
    dropped_images: int
    set_aside: dict[str, str]


def encode_rows(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: "PreTrainedTokenizerBase",
    limits: Limits,
    *,
    loss: Loss = "answer",
    vision: Vision | None = None,
) -> EncodedRows:
    """Encode rows to train on; what this model cannot be shown, or would be taught wrongly by, is set aside alone.

    Raises:
        FinetrailError: as `encode_row`, but for `UnfitRow`; as `SetAside.check`; or a row has an image that the model
            cannot read, and nothing allows to drop it.
    """
    shown = choose_images(rows, limits, vision)
    examples, aside = [], SetAside()
    for row in rows:
        with aside.unfit(str(row["id"])):
            _refuse_closed_thoughts(row, tokenizer)
            examples.append(encode_row(row, tokenizer, limits, loss=loss, vision=shown))
    aside.check(len(rows))
    dropped = 0 if shown else sum(row.get("image") is not None for row in rows)
    return EncodedRows(examples, dropped, aside.reasons)


def _refuse_closed_thoughts(row: Mapping[str, Any], tokenizer: "PreTrainedTokenizerBase") -> None:
    """Set a row aside that would teach to write thoughts behind a prompt that has closed them."""
    if chat_tokens(tokenizer).closes_thoughts and THOUGHTS[1] in row["messages"][-1]["content"]:
        raise UnfitRow(
            "the answer holds thoughts, but the prompt has closed them",
            where=str(row["id"]),
            hint="Cut them off, or name a layout without them in base_model.template (qwen for Qwen3)",
        )


def choose_images(rows: Iterable[Mapping[str, Any]], limits: Limits, vision: Vision | None) -> Vision | None:
    """Return how images are shown: as the model can, or not at all where the limits say so.

    Raises:
        FinetrailError: a row has an image, and the model reads text only.
    """
    if limits.images == "drop":
        return None
    if vision is None:
        refuse_images(rows)
    return vision


def prompt_ids(
    messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", *, where: str, images: int = 0
) -> list[int]:
    """Render messages up to where the assistant's answer begins.

    Args:
        messages: ``role`` and ``content`` each.
        tokenizer: with its chat template.
        where: the row's id, for messages.
        images: how many images stand in front of the first user turn.

    Raises:
        FinetrailError: the template shows no system message.
        UnfitRow: see `finetrail.models.control_tokens.chat_ids`; or the prompt begins with two BOS tokens.
    """
    if messages[0]["role"] == "system" and not chat_tokens(tokenizer).keeps_system:
        raise FinetrailError(
            "the chat template drops or refuses the system message",
            where=where,
            hint="Name a layout in base_model.template, or set folds.system_prompt to nothing",
        )
    ids = _shown(messages, tokenizer, where, images, add_generation_prompt=True).ids
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        raise TemplateFault("the prompt begins with two BOS tokens", where=where, hint="Mend the chat template")
    return ids


def _shown(
    messages: Sequence[Message],
    tokenizer: "PreTrainedTokenizerBase",
    where: str,
    images: int,
    *,
    add_generation_prompt: bool = False,
    with_answers: bool = False,
) -> ChatIds:
    return chat_ids(
        tokenizer,
        messages,
        where=where,
        add_generation_prompt=add_generation_prompt,
        image_token=IMAGE_TOKEN,
        images=images,
        with_answers=with_answers,
    )


def split_ids(
    messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", where: str, images: int = 0
) -> tuple[list[int], list[int]]:
    """Tokenize prompt and target: the target is the answer and the end-of-turn token, nothing else.

    Raises:
        UnfitRow: as `prompt_ids`; or the prompt is no prefix of the whole, or the turn's end is missing.
    """
    prompt, whole = _prompt_and_whole(messages, tokenizer, where, images)
    return prompt, _target(prompt, whole.ids, tokenizer, where)


def _prompt_and_whole(
    messages: Sequence[Message],
    tokenizer: "PreTrainedTokenizerBase",
    where: str,
    images: int,
    *,
    with_answers: bool = False,
) -> tuple[list[int], ChatIds]:
    prompt = prompt_ids(messages[:-1], tokenizer, where=where, images=images)
    return prompt, _shown(messages, tokenizer, where, images, with_answers=with_answers)


def _target(prompt: Sequence[int], whole: Sequence[int], tokenizer: "PreTrainedTokenizerBase", where: str) -> list[int]:
    """Return what follows the prompt, up to the end of the turn."""
    if list(whole[: len(prompt)]) != list(prompt):
        raise TemplateFault("the chat template renders the prompt otherwise when an answer follows", where=where)
    target, end = list(whole[len(prompt) :]), chat_tokens(tokenizer).end
    if end not in target:
        raise TemplateFault("the chat template does not end the assistant's turn", where=where)
    return target[: target.index(end) + 1]


def _answer_labels(
    messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", where: str, images: int
) -> tuple[list[int], list[int]]:
    prompt, target = split_ids(messages, tokenizer, where, images)
    return prompt + target, [IGNORED] * len(prompt) + target


def _assistant_labels(
    messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", where: str, images: int
) -> tuple[list[int], list[int]]:
    """Ids and labels by the template's own generation markers; what they leave out is compared with the last answer.

    Raises:
        UnfitRow: as `split_ids`, or a marked turn ends with another token than the turn's end.
    """
    prompt, whole = _prompt_and_whole(messages, tokenizer, where, images, with_answers=True)
    target = _target(prompt, whole.ids, tokenizer, where)
    ids = prompt + target
    labels = [IGNORED] * len(ids)
    for start, behind in whole.answers:
        labels[start:behind] = ids[start:behind]
    end = chat_tokens(tokenizer).end
    answers = sum(message["role"] == "assistant" for message in messages)
    stops = [
        token
        for place, token in enumerate(labels)
        if token != IGNORED and (place + 1 == len(labels) or labels[place + 1] == IGNORED)
    ]
    last_answer_alone = labels[len(prompt) - 1 :] == [IGNORED, *target]
    if not last_answer_alone or stops != [end] * answers:
        raise TemplateFault(
            "what {% generation %} marks is not each answer with its end-of-turn token as the final trained one, and"
            " nothing else",
            where=where,
            hint="Name a layout in base_model.template",
        )
    return ids, labels


def shorten_history(messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", limits: Limits) -> list[Message]:
    """Keep the latest exchanges before the last question, answers cut and without thoughts; a system message stays.

    Args:
        messages: system (or none), exchanges, the last question and, where there is one, its answer.
    """
    system = [message for message in messages[:1] if message["role"] == "system"]
    turns = list(messages[len(system) :])
    asked = max(index for index, message in enumerate(turns) if message["role"] == "user")
    history, last = turns[:asked], turns[asked:]
    if limits.history_turns is not None:
        history = history[max(0, len(history) - 2 * limits.history_turns) :]
    history = [_without_thoughts(message) if message["role"] == "assistant" else message for message in history]
    if limits.history_answer_tokens is not None:
        history = [_cut_answer(message, tokenizer, limits.history_answer_tokens) for message in history]
    return [*system, *history, *last]


def _cut_answer(message: Message, tokenizer: "PreTrainedTokenizerBase", tokens: int) -> Message:
    if message["role"] != "assistant":
        return message
    return Message(role="assistant", content=cut_text(message["content"], tokenizer, tokens))


def _without_thoughts(message: Message) -> Message:
    return Message(role=message["role"], content=without_thoughts(message["content"]))


def cut_text(text: str, tokenizer: "PreTrainedTokenizerBase", tokens: int) -> str:
    """Cut a text to its first tokens."""
    ids = plain_ids(tokenizer, text, where="an earlier answer", role="assistant")
    return text if len(ids) <= tokens else tokenizer.decode(ids[:tokens]).strip()


def _with_fewer_passages(
    messages: Sequence[Message], row: Mapping[str, Any], shown: Sequence[Evidence]
) -> tuple[list[Message], Sequence[Evidence]]:
    """The same messages with a passage less in the last user turn, and the passages that are left.

    Raises:
        FinetrailError: the row's last user turn was laid out in another way, so that it cannot be shortened.
    """
    if row.get("question") is None or messages[-2]["content"] != turn_of(row, shown):
        raise FinetrailError(
            "the row is too long and its last user turn is not its question with its evidence",
            where=str(row["id"]),
            hint="Raise max_length",
        )
    left, target = without_a_passage(row, shown, messages[-1]["content"])
    turns = [Message(role="user", content=turn_of(row, left)), Message(role="assistant", content=target)]
    return [*messages[:-2], *turns], left
