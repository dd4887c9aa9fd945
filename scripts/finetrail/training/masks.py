"""Turn chat rows into token ids and labels: only the assistant's last turn carries loss."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.text.prompts import Evidence, Message, user_turn
from finetrail.training.settings import Limits

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
        labels: as long as input_ids; IGNORED but for the target.
        dropped_passages: how many passages of the evidence were left out so that the row fits.
    """

    row_id: str
    input_ids: list[int]
    labels: list[int]
    dropped_passages: int

    @property
    def prompt_ids(self) -> list[int]:
        """The ids before the target."""
        return self.input_ids[: len(self.input_ids) - self.target_tokens]

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
                hint="Vision models are not supported yet",
            )


def encode_row(row: Mapping[str, Any], tokenizer: "PreTrainedTokenizerBase", limits: Limits) -> Example:
    """Encode one training or evaluation row, leaving out its last passages until it fits.

    Args:
        row: ``id``, ``messages`` (the last is the assistant's target) and, where passages may be dropped,
            ``question`` and ``evidence``, from which the last user turn was laid out.
        tokenizer: with its chat template.
        limits: how much history and how many tokens a row may have.

    Raises:
        FinetrailError: the row does not fit even without evidence, its last turn is not the assistant's, or
            the chat template renders prompt and target so that they cannot be told apart.
    """
    row_id = str(row["id"])
    messages = shorten_history(row["messages"], tokenizer, limits)
    if not messages or messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        raise FinetrailError("the last message is not an answer of the assistant", where=row_id)
    evidence: Sequence[Evidence] = row.get("evidence") or []
    for kept in range(len(evidence), -1, -1):
        if kept < len(evidence):
            messages = _with_passages(messages, row, kept)
        prompt, target = split_ids(messages, tokenizer, row_id)
        if len(prompt) + len(target) <= limits.max_length:
            labels = [IGNORED] * len(prompt) + target
            return Example(row_id, prompt + target, labels, len(evidence) - kept)
    raise FinetrailError(
        f"the row has {len(prompt) + len(target)} tokens without any evidence, the limit is {limits.max_length}",
        where=row_id,
        hint="Raise max_length, or lower history_turns",
    )


def prompt_ids(messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", *, where: str) -> list[int]:
    """Render messages up to where the assistant's answer begins.

    Raises:
        FinetrailError: the prompt begins with two BOS tokens.
    """
    ids: list[int] = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        raise FinetrailError("the prompt begins with two BOS tokens", where=where, hint="Mend the chat template")
    return ids


def split_ids(
    messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", where: str
) -> tuple[list[int], list[int]]:
    """Tokenize prompt and target: the target is the answer and the end-of-turn token, nothing else.

    Raises:
        FinetrailError: the prompt is no prefix of the whole, the turn's end is missing, or the answer itself
            holds the end-of-turn token.
    """
    prompt = prompt_ids(messages[:-1], tokenizer, where=where)
    whole: list[int] = tokenizer.apply_chat_template(list(messages), return_dict=False)
    target = whole[len(prompt) :]
    if whole[: len(prompt)] != prompt:
        raise FinetrailError("the chat template renders the prompt otherwise when an answer follows", where=where)
    end = tokenizer.eos_token_id
    if end not in target:
        raise FinetrailError("the chat template does not end the assistant's turn with the EOS token", where=where)
    if target.count(end) > 1:
        raise FinetrailError("the answer holds the end-of-turn token", where=where, hint="Clean the text")
    return prompt, target[: target.index(end) + 1]


def shorten_history(messages: Sequence[Message], tokenizer: "PreTrainedTokenizerBase", limits: Limits) -> list[Message]:
    """Keep the latest exchanges before the last question, their answers cut; a system message always stays.

    Args:
        messages: system (or none), exchanges, the last question and, where there is one, its answer.
    """
    system = [message for message in messages[:1] if message["role"] == "system"]
    turns = list(messages[len(system) :])
    asked = max(index for index, message in enumerate(turns) if message["role"] == "user")
    history, last = turns[:asked], turns[asked:]
    if limits.history_turns is not None:
        history = history[max(0, len(history) - 2 * limits.history_turns) :]
    if limits.history_answer_tokens is not None:
        history = [_cut_answer(message, tokenizer, limits.history_answer_tokens) for message in history]
    return [*system, *history, *last]


def _cut_answer(message: Message, tokenizer: "PreTrainedTokenizerBase", tokens: int) -> Message:
    if message["role"] != "assistant":
        return message
    return Message(role="assistant", content=cut_text(message["content"], tokenizer, tokens))


def cut_text(text: str, tokenizer: "PreTrainedTokenizerBase", tokens: int) -> str:
    """Cut a text to its first tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return text if len(ids) <= tokens else tokenizer.decode(ids[:tokens]).strip()


def _with_passages(messages: Sequence[Message], row: Mapping[str, Any], kept: int) -> list[Message]:
    """The same messages with only the first passages in the last user turn.

    Raises:
        FinetrailError: the row's last user turn was laid out in another way, so that it cannot be shortened.
    """
    evidence: Sequence[Evidence] = row["evidence"]
    question = row.get("question")
    whole = {user_turn(str(question), evidence[:shown]) for shown in (kept + 1, len(evidence))}
    if question is None or messages[-2]["content"] not in whole:
        raise FinetrailError(
            "the row is too long and its last user turn is not its question with its evidence",
            where=str(row["id"]),
            hint="Raise max_length",
        )
    return [*messages[:-2], Message(role="user", content=user_turn(question, evidence[:kept])), messages[-1]]
