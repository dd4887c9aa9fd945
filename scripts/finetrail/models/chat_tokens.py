"""What a tokenizer's chat template does, found by rendering a conversation; what would teach wrongly is refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.chat.detect_layout import TEMPLATE_OPTIONS
from finetrail.chat.messages import Message
from finetrail.errors import FinetrailError
from finetrail.models.base import embedding_rows
from finetrail.models.limits import Loss
from finetrail.rows.artifacts import MANIFEST_NAME, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLOSED_THOUGHTS = "</think>"
_THOUGHTS = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)
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
    if not tokenizer.chat_template:
        raise FinetrailError(
            "the tokenizer has no chat template", where=_WHERE, hint="Name a layout in base_model.template"
        )
    return _probe(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=8)
def _probe(tokenizer: "PreTrainedTokenizerBase", template: str) -> ChatTokens:
    question = Message(role="user", content=_QUESTION)
    asked = render(tokenizer, [question], where=_WHERE, tokenize=False, add_generation_prompt=True)
    answered = render(tokenizer, [question, Message(role="assistant", content=_ANSWER)], where=_WHERE, tokenize=False)
    return ChatTokens(
        end=_end_of_turn(tokenizer, answered.rpartition(_ANSWER)[2]),
        keeps_system=_keeps_system(tokenizer, question),
        closes_thoughts=asked.rstrip().endswith(CLOSED_THOUGHTS),
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
        return _SYSTEM in render(tokenizer, messages, where=_WHERE, tokenize=False, add_generation_prompt=True)
    except FinetrailError:
        return False


def render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], *, where: str, **options: Any) -> Any:
    """Apply the chat template.

    Args:
        where: the row's id, for the message.
        options: of ``apply_chat_template``.

    Raises:
        FinetrailError: the template refuses the messages.
    """
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(list(messages), **{"return_dict": False, **options}, **TEMPLATE_OPTIONS)
    except TemplateError as error:
        raise FinetrailError(
            f"the chat template refuses the messages: {error}", where=where, hint="base_model.template names another"
        ) from error


def without_thoughts(answer: str) -> str:
    """Cut the block of thoughts off an earlier answer: published templates show none of it again."""
    return _THOUGHTS.sub("", answer, count=1) if answer.lstrip().startswith("<think>") else answer


def check_chat(tokenizer: "PreTrainedTokenizerBase", base_dir: Path, *, loss: Loss, max_length: int) -> None:
    """Refuse a tokenizer with which training would teach the wrong thing, before any row is encoded.

    Args:
        tokenizer: of the base model.
        base_dir: the base model's folder.
        loss: which of the assistant's turns carry loss.
        max_length: tokens of the longest row.

    Raises:
        FinetrailError: no control token ends a turn, or generation would not stop at it; the template does not mark
            answers where that is needed; or rows may be longer than the model's context.
    """
    chat = chat_tokens(tokenizer)
    end = tokenizer.convert_ids_to_tokens(chat.end)
    stops = stop_ids(tokenizer, base_dir)
    if chat.end not in stops:
        named = ", ".join(str(tokenizer.convert_ids_to_tokens(number)) for number in sorted(stops)) or "none"
        raise FinetrailError(
            f"the final trained token would be {end}, but generation stops at {named}",
            where=str(base_dir),
            hint="base_model.template sets the end-of-turn token together with the template",
        )
    if loss == "assistant" and not chat.marks_answers:
        raise FinetrailError(
            "the chat template has no {% generation %}, so that the assistant's turns cannot be told from the others",
            where=str(base_dir),
            hint="Name a layout in base_model.template, or set `loss: answer`",
        )
    context = embedding_rows(base_dir)[0].get_text_config().max_position_embeddings
    if max_length > context:
        raise FinetrailError(
            f"limits.max_length is {max_length}, but the model's context is {context}",
            where=str(base_dir),
            hint="Lower limits.max_length",
        )


def stop_ids(tokenizer: "PreTrainedTokenizerBase", base_dir: Path) -> frozenset[int]:
    """Return the tokens at which generation stops: the EOS token, and those of ``generation_config.json``."""
    path = base_dir / "generation_config.json"
    told = read_json(path).get("eos_token_id") if path.is_file() else None
    listed = told if isinstance(told, list) else [told]
    return frozenset(number for number in (tokenizer.eos_token_id, *listed) if number is not None)


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the token to pad with: the tokenizer's own, else the end of a turn.

    Labels and attention go by the places of padding, so that any token will do.
    """
    own = tokenizer.pad_token_id
    return chat_tokens(tokenizer).end if own is None else int(own)


def check_new_tokens(tokenizer: "PreTrainedTokenizerBase", base_dir: Path, modules_to_save: Sequence[str]) -> None:
    """Refuse tokens that the base has no trained embedding for, where an adapter would not train them.

    Args:
        tokenizer: of the base model.
        base_dir: the base model's folder; its manifest, where there is one, names the tokens that were added, which
            may have found a spare embedding.
        modules_to_save: modules that are trained whole beside the adapter.

    Raises:
        FinetrailError: names the modules that have to be trained.
    """
    config, rows = embedding_rows(base_dir)
    needed = ["embed_tokens"] if config.get_text_config().tie_word_embeddings else ["embed_tokens", "lm_head"]
    missing = [name for name in needed if name not in modules_to_save]
    beyond = [str(tokenizer.convert_ids_to_tokens(number)) for number in range(rows, len(tokenizer))]
    new = list(dict.fromkeys([*_added_tokens(base_dir), *beyond]))
    if new and missing:
        raise FinetrailError(
            f"the tokenizer has {len(new)} new tokens ({', '.join(new[:5])}), whose embeddings an adapter does"
            " not train",
            where=str(base_dir),
            hint=f"Add {', '.join(missing)} to modules_to_save",
        )


def _added_tokens(base_dir: Path) -> list[str]:
    """Return the tokens that `finetrail.models.base_tokenizer.prepare_tokenizer` added to this base."""
    path = base_dir / MANIFEST_NAME
    added: list[str] = read_json(path).get("tokenizer", {}).get("new_tokens", []) if path.is_file() else []
    return added
