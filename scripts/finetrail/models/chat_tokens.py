"""What a tokenizer's chat template does, found by rendering a conversation; what would teach wrongly is refused."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from finetrail.chat.bounded_template import render_template
from finetrail.chat.messages import Message
from finetrail.errors import FinetrailError
from finetrail.models.control_tokens import THOUGHT, THOUGHTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_GENERATION = re.compile(r"\{%-?\s*generation\b")
_WHERE = "chat_template"
_QUESTION, _ANSWER, _SYSTEM = "Which one?", "The answer of the probe.", "The system message of the probe."


@dataclass(frozen=True)
class ChatTokens:
    """What matters of a template for training.

    Attributes:
        end: the token that ends the assistant's turn: the last one that is trained.
        keeps_system: whether a system message is shown at all.
        closes_thoughts: whether the prompt ends behind a closed block of thoughts, so that no answer may open one.
        marks_answers: whether ``{% generation %}`` stands around what the assistant writes.
    """

    end: int
    keeps_system: bool
    closes_thoughts: bool
    marks_answers: bool


def chat_tokens(tokenizer: "PreTrainedTokenizerBase") -> ChatTokens:
    """Find out what a tokenizer's template does; the answer is kept for as long as the template stays.

    Raises:
        FinetrailError: there is no template, or it ends the assistant's turn with no control token.
    """
    return _probe(tokenizer, str(tokenizer.chat_template or ""))


@lru_cache(maxsize=8)
def _probe(tokenizer: "PreTrainedTokenizerBase", template: str) -> ChatTokens:
    question = Message(role="user", content=_QUESTION)
    answer = Message(role="assistant", content=_ANSWER)
    asked = render_template(tokenizer, [question], where=_WHERE, add_generation_prompt=True).text
    answered = render_template(tokenizer, [question, answer], where=_WHERE, add_generation_prompt=False).text
    return ChatTokens(
        end=_end_of_turn(tokenizer, answered.rpartition(_ANSWER)[2]),
        keeps_system=_keeps_system(tokenizer, question),
        closes_thoughts=asked.rstrip().endswith(THOUGHTS[1]),
        marks_answers=_GENERATION.search(template) is not None,
    )


def _end_of_turn(tokenizer: "PreTrainedTokenizerBase", tail: str) -> int:
    ids: list[int] = tokenizer(tail, add_special_tokens=False)["input_ids"]
    if not ids or ids[0] not in {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}:
        written = repr(tail) if tail else "nothing"
        raise FinetrailError(
            f"the chat template ends the assistant's turn with {written}, which begins with no control token of this"
            " vocabulary: the model could not learn to stop",
            where=_WHERE,
            hint="Name another layout in base_model.template, or the missing tokens in base_model.new_tokens",
        )
    return ids[0]


def _keeps_system(tokenizer: "PreTrainedTokenizerBase", question: Message) -> bool:
    messages = [Message(role="system", content=_SYSTEM), question]
    try:
        return _SYSTEM in render_template(tokenizer, messages, where=_WHERE, add_generation_prompt=True).text
    except FinetrailError:
        return False


def without_thoughts(answer: str) -> str:
    """Cut the block of thoughts off an earlier answer: published templates show none of it again."""
    thought = THOUGHT.match(answer)
    return answer[thought.end() :].lstrip() if thought else answer


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the token to pad with: the tokenizer's own, else the end of a turn.

    Labels and attention go by the places of padding, so that any token will do.
    """
    own = tokenizer.pad_token_id
    return chat_tokens(tokenizer).end if own is None else int(own)
