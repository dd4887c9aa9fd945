"""Where text becomes token ids: control tokens are what the chat template writes; those that stand in data are words.

A web page, an answer or a system prompt may hold ``<|im_end|>``. A tokenizer would read it as the token, and the text
could end its own turn and begin another. So control tokens in messages are marked before the template sees them, and
encoded as plain text; marking and encoding are the transformers library's (``sanitize_control_tokens``).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from finetrail.chat.bounded_template import TEMPLATE_OPTIONS, Rendering, render_template
from finetrail.chat.messages import Message
from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

THOUGHTS = ("<think>", "</think>")
"""Around what a model thinks aloud: control tokens of some vocabularies, which its answers may hold all the same."""
_MARKED = re.compile("\U000f0000.*?\U000f0001", re.DOTALL)  # the library's marks


class UnfitRow(FinetrailError):
    """A row that this model cannot be shown; it is set aside alone."""


@dataclass(frozen=True)
class ControlTokens:
    """The control tokens of a vocabulary: its special tokens, and those of its added tokens that its template writes.

    Attributes:
        ids: text → id.
        pattern: finds them in a text, the longest first.
        in_answers: the same without `THOUGHTS`.
    """

    ids: dict[str, int]
    pattern: re.Pattern[str]
    in_answers: re.Pattern[str]

    def count(self, messages: Sequence[Message]) -> int:
        """Count the control tokens that stand in messages."""
        return sum(len(self._of(message).findall(message["content"])) for message in messages)

    def mark(self, message: Message) -> Message:
        """Mark what is to be encoded as plain text."""
        from transformers.utils.chat_template_utils import mark_control_tokens

        content = str(mark_control_tokens(message["content"], self._of(message)))
        return Message(role=message["role"], content=content)

    def _of(self, message: Message) -> re.Pattern[str]:
        return self.in_answers if message["role"] == "assistant" else self.pattern


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> ControlTokens:
    """Return the control tokens of a vocabulary; the answer is kept for as long as the template stays."""
    return _control_tokens(tokenizer, str(tokenizer.chat_template or ""))


@lru_cache(maxsize=8)
def _control_tokens(tokenizer: "PreTrainedTokenizerBase", template: str) -> ControlTokens:
    found = {
        token.content: number
        for number, token in tokenizer.added_tokens_decoder.items()
        # White space is an added token of some vocabularies, and every template writes it.
        if token.special or (token.content in template and not token.content.isspace())
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
        answers: of templates with ``{% generation %}``, the first token and the one behind the last of each
            assistant's turn.
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
) -> ChatIds:
    """Render a conversation and encode it, so that its control tokens are those that the template writes.

    Args:
        tokenizer: with its chat template.
        messages: ``role`` and ``content`` each.
        where: the row's id, for the message.
        add_generation_prompt: whether to open the assistant's next turn at the end.
        image_token, images: written as often in front of the first user turn: all that follows is about the images.
        options: what the template may look at besides.

    Raises:
        FinetrailError: see `finetrail.chat.bounded_template.render_template`.
        UnfitRow: the tokenizer makes a control token of plain text.
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
    written = rendering.text
    if texts:
        written = _MARKED.sub("\0", written)
        ids = _encode_marked(tokenizer, rendering.text, where)
        answers = tuple(_marked_answers(tokenizer, rendering, ids, where))
    else:
        encoding = tokenizer(rendering.text, add_special_tokens=False)
        ids = encoding["input_ids"]
        answers = tuple(_answers(encoding, rendering, len(ids)))
    _check_written(control, written, ids, where)
    return ChatIds(ids, answers, texts)


def plain_ids(tokenizer: "PreTrainedTokenizerBase", text: str, *, where: str) -> list[int]:
    """Encode a text without a template; it holds no control token.

    Raises:
        UnfitRow: the tokenizer makes a control token of plain text.
    """
    control = control_tokens(tokenizer)
    if not control.pattern.search(text):
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        _check_written(control, text, ids, where)
        return ids
    marked = control.mark(Message(role="user", content=text))["content"]
    ids = _encode_marked(tokenizer, marked, where)
    _check_written(control, "", ids, where)
    return ids


def _encode_marked(tokenizer: "PreTrainedTokenizerBase", text: str, where: str) -> list[int]:
    from transformers.utils.chat_template_utils import encode_marked_chat

    try:
        ids: list[int] = encode_marked_chat(tokenizer, text)
    except ValueError as error:
        raise UnfitRow(
            f"holds a control token that cannot be written as plain text: {error}", where=where, hint="Clean the text"
        ) from error
    return ids


def _check_written(control: ControlTokens, text: str, ids: Sequence[int], where: str) -> None:
    """Hold the control tokens among the ids to those that were written."""
    written = [control.ids[name] for name in control.pattern.findall(text)]
    known = set(control.ids.values())
    if written != [number for number in ids if number in known]:
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
        before = _encode_marked(tokenizer, rendering.text[:start], where)
        whole = _encode_marked(tokenizer, rendering.text[:end], where)
        if ids[: len(whole)] != whole or whole[: len(before)] != before:
            raise UnfitRow("an answer begins or ends within a token", where=where, hint="Clean the text")
        yield len(before), len(whole)
