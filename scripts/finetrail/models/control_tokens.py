"""Where text becomes token ids: control tokens are what the chat template writes; those that stand in data are words.

A web page, an answer or a system prompt may hold ``<|im_end|>``. A tokenizer would read it as the token, and the text
could end its own turn and begin another. So control tokens in messages are marked before the template sees them, and
encoded as plain text; marking and encoding are the transformers library's (``sanitize_control_tokens``).
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from finetrail.chat.bounded_template import TEMPLATE_OPTIONS, Rendering, TemplateFault, UnfitRow, render_template
from finetrail.chat.messages import Message
from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

THOUGHTS = ("<think>", "</think>")
"""Around what a model thinks aloud: tokens of some vocabularies, with which its answers may begin all the same."""
THOUGHT = re.compile(rf"\s*{THOUGHTS[0]}.*?{THOUGHTS[1]}", re.DOTALL)
"""The thoughts with which an answer begins, at its start."""
_SPACES = " \t\r\n\u2581"  # SentencePiece writes a space as U+2581
_START, _END = "\U000f0000", "\U000f0001"  # the library's marks
_MARKED = re.compile(f"{_START}(.)(.*?){_END}", re.DOTALL)


logger = logging.getLogger(__name__)


@dataclass
class SetAside:
    """The rows that a model cannot be shown: they are set aside alone, unless they are most.

    Attributes:
        reasons: row id → why.
        faults: how many of them the chat template does not write as it should.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    faults: int = 0

    @contextmanager
    def unfit(self, row_id: str) -> Iterator[None]:
        """Set the row aside where what is done within finds it unfit."""
        try:
            yield
        except UnfitRow as error:
            self.add(row_id, error)

    def add(self, row_id: str, error: UnfitRow) -> None:
        """Set a row aside, and say so."""
        if row_id not in self.reasons:
            logger.warning("%s: set aside: %s", row_id, error.cause)
            self.reasons[row_id] = error.cause
            self.faults += isinstance(error, TemplateFault)

    def check(self, rows: int) -> None:
        """Stop where it is not the rows that are at fault.

        Args:
            rows: how many there were.

        Raises:
            FinetrailError: the template is at fault in most rows, or no row is left.
        """
        if not self.reasons:
            return
        first = ": ".join(next(iter(self.reasons.items())))
        if 2 * self.faults > rows:
            raise FinetrailError(
                f"the chat template fails at {self.faults} of {rows} rows; the first is {first}",
                where="chat_template",
                hint="Name a layout in base_model.template, or choose another base model",
            )
        if len(self.reasons) >= rows:
            raise FinetrailError(
                f"none of {rows} rows can be shown to this model; the first is {first}",
                hint="Clean the rows, or choose another base model",
            )


@dataclass(frozen=True)
class ControlTokens:
    """The control tokens of a vocabulary: all its added tokens, but for white space.

    Special ones are not all: models learned to heed ``<tool_call>``, ``<|fim_prefix|>`` and reserved ones, too.

    Attributes:
        ids: text → id.
        pattern: finds them in a text, the longest first.
        outside: the same without `THOUGHTS`.
    """

    ids: dict[str, int]
    pattern: re.Pattern[str]
    outside: re.Pattern[str]

    def count(self, messages: Sequence[Message]) -> int:
        """Count the control tokens that stand in messages, and are no thoughts of the assistant."""
        return sum(len(pattern.findall(text)) for message in messages for text, pattern in self._parts(message))

    def mark(self, message: Message) -> Message:
        """Mark what is to be encoded as plain text."""
        from transformers.utils.chat_template_utils import mark_control_tokens

        content = "".join(str(mark_control_tokens(text, pattern)) for text, pattern in self._parts(message))
        return Message(role=message["role"], content=content)

    def _parts(self, message: Message) -> list[tuple[str, re.Pattern[str]]]:
        """Part the thoughts with which an answer begins from the rest of it."""
        content = message["content"]
        thought = THOUGHT.match(content) if message["role"] == "assistant" else None
        end = thought.end() if thought else 0
        return [(content[:end], self.outside), (content[end:], self.pattern)]


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> ControlTokens:
    """Return the control tokens of a vocabulary; the answer is kept, so that tokens are added before."""
    return _control_tokens(tokenizer)


@lru_cache(maxsize=8)
def _control_tokens(tokenizer: "PreTrainedTokenizerBase") -> ControlTokens:
    found = {
        token.content: number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.content.strip(_SPACES)
    }
    return ControlTokens(found, _any_of(found), _any_of(name for name in found if name not in THOUGHTS))


def _any_of(names: "Sequence[str] | Iterator[str] | dict[str, int]") -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


@dataclass(frozen=True)
class ChatIds:
    """A conversation as the model reads it.

    Attributes:
        ids: of all that the template writes.
        answers: where they are asked for, of templates with ``{% generation %}``: the first token and the one behind
            the last of each assistant's turn.
        control_texts: how many control tokens stood in the messages, and are words.
    """

    ids: list[int]
    answers: tuple[tuple[int, int], ...]
    control_texts: int


def chat_ids(
    tokenizer: "PreTrainedTokenizerBase",
    messages: Sequence[Message],
    *,
    where: str,
    add_generation_prompt: bool = False,
    image_token: str | None = None,
    images: int = 0,
    options: Mapping[str, Any] = TEMPLATE_OPTIONS,
    with_answers: bool = False,
) -> ChatIds:
    """Render a conversation and encode it, so that its control tokens are those that the template writes.

    Args:
        tokenizer: with its chat template.
        messages: ``role`` and ``content`` each.
        where: the row's id, for the message.
        add_generation_prompt: whether to open the assistant's next turn at the end.
        image_token, images: written as often in front of the first user turn: all that follows is about the images.
        options: what the template may look at besides.
        with_answers: whether to find the tokens of the assistant's turns.

    Raises:
        FinetrailError: there is no template.
        UnfitRow: the tokenizer makes a control token of plain text, or the template refuses the messages.
    """
    control = control_tokens(tokenizer)
    texts = control.count(messages)
    shown = [control.mark(message) for message in messages] if texts else list(messages)
    if images:
        first = next(place for place, message in enumerate(shown) if message["role"] == "user")
        shown[first] = Message(role="user", content=f"{image_token}" * images + shown[first]["content"])
    rendering = render_template(
        tokenizer, shown, where=where, add_generation_prompt=add_generation_prompt, options=options
    )
    written, answers = rendering.text, tuple[tuple[int, int], ...]()
    if texts:
        written = _MARKED.sub("\0", written)
        ids = _encode_marked(tokenizer, rendering.text)
        if with_answers:
            answers = tuple(_marked_answers(tokenizer, rendering, ids, where))
    else:
        encoding = tokenizer(rendering.text, add_special_tokens=False)
        ids = encoding["input_ids"]
        if with_answers:
            answers = tuple(_answers(encoding, rendering, len(ids)))
    unknown = tokenizer.unk_token_id
    _check_written(control, unknown, written, ids, where)
    return ChatIds(ids, answers, texts)


def plain_ids(
    tokenizer: "PreTrainedTokenizerBase", text: str, *, where: str, role: Literal["user", "assistant"] = "user"
) -> list[int]:
    """Encode a text without a template; it holds no control token, but for thoughts with which an answer begins.

    Args:
        tokenizer: of the model.
        text: what somebody said.
        where: the row's id, for the message.
        role: who said it.

    Raises:
        UnfitRow: the tokenizer makes a control token of plain text.
    """
    control, message = control_tokens(tokenizer), Message(role=role, content=text)
    if control.count([message]):
        marked = control.mark(message)["content"]
        ids, written = _encode_marked(tokenizer, marked), _MARKED.sub("\0", marked)
    else:
        ids, written = tokenizer(text, add_special_tokens=False)["input_ids"], text
    _check_written(control, tokenizer.unk_token_id, written, ids, where)
    return ids


def _encode_marked(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    from transformers.utils.chat_template_utils import encode_marked_chat

    try:
        ids: list[int] = encode_marked_chat(tokenizer, text)
    except ValueError:
        # The token comes of its words as well. A mark behind its first letter keeps them apart.
        ids = encode_marked_chat(tokenizer, _MARKED.sub(rf"\1{_START}\2", text))
    return ids


def _check_written(control: ControlTokens, unknown: int | None, text: str, ids: Sequence[int], where: str) -> None:
    """Hold the control tokens among the ids to those that were written; an unknown letter is none."""
    written = [control.ids[name] for name in control.pattern.findall(text)]
    known = set(control.ids.values()) - {unknown}
    if [one for one in written if one != unknown] != [number for number in ids if number in known]:
        raise UnfitRow(
            "the tokenizer makes a control token of what stands in the text", where=where, hint="Clean the text"
        )


def _answers(encoding: "BatchEncoding", rendering: Rendering, length: int) -> Iterator[tuple[int, int]]:
    """Find the tokens of the answers by their characters."""
    for start, end in rendering.answers:
        first, last = encoding.char_to_token(0, start), encoding.char_to_token(0, end - 1)
        if first is not None:
            yield first, length if last is None else last + 1


def _marked_answers(
    tokenizer: "PreTrainedTokenizerBase", rendering: Rendering, ids: Sequence[int], where: str
) -> Iterator[tuple[int, int]]:
    """Find the tokens of the answers in a marked text: those of all that stands before, and of all up to their end.

    Raises:
        UnfitRow: an answer begins or ends within a token.
    """
    for start, end in rendering.answers:
        before = _encode_marked(tokenizer, rendering.text[:start])
        whole = _encode_marked(tokenizer, rendering.text[:end])
        if ids[: len(whole)] != whole or whole[: len(before)] != before:
            raise UnfitRow("an answer begins or ends within a token", where=where, hint="Clean the text")
        yield len(before), len(whole)
