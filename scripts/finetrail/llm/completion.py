"""The body of a chat completion, read whatever stands in it: any field may be missing, or be anything."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetrail.calls.cleaning import Cleaner, cut
from finetrail.calls.faults import Failed, Fault
from finetrail.calls.money import Usage
from finetrail.calls.server_protocol import Reply
from finetrail.llm.samples import share_usage
from finetrail.rows.records import canonical_json

SHOWN_BYTES = 120
LONGEST_NAME = 200
LONGEST_REFUSAL = 2000
TEXT_PARTS = {"text", "output_text"}
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)


class ErrorWithin(Exception):
    """A reply of status 200 holds an error instead of an answer."""

    def __init__(self, error: Any) -> None:
        super().__init__("an error within a reply")
        self.error = error


@dataclass(frozen=True)
class Bounds:
    """What was asked for, which bounds what can have come: answers, tokens of the prompt, and of all answers."""

    answers: int = 1
    prompt_tokens: int = 1_000_000_000
    completion_tokens: int = 1_000_000_000


def read_replies(content: bytes, cleaner: Cleaner, bounds: Bounds) -> list[Reply]:
    """Read the body of a chat completion; a reply without text comes with its problem.

    Args:
        content: the body.
        cleaner: cleans all that is kept of it.
        bounds: how many answers are read, and how many tokens they may have taken.

    Raises:
        ErrorWithin: it holds an error.
        Failed: it is no completion (to be tried again).
    """
    try:
        body = json.loads(content, parse_constant=lambda _: None)  # a log-probability may be minus infinity
        body = body[0] if isinstance(body, list) and len(body) == 1 else body
        choices = _choices_of(body)[: bounds.answers]
        usage = read_usage(body.get("usage"), bounds)
        shares = [None] * len(choices) if usage is None else share_usage(usage, len(choices))
        return [_read_choice(body, choice, share, cleaner) for choice, share in zip(choices, shares, strict=True)]
    except UNREADABLE as error:
        said = cleaner.message(content[:SHOWN_BYTES].decode("utf-8", "replace")) or "an empty body"
        why = cleaner.message(repr(error), SHOWN_BYTES)
        raise Failed(Fault("foreign", f"the reply is no chat completion ({why}): {said}")) from error


def _choices_of(body: Any) -> Sequence[Mapping[str, Any]]:
    """Return the answers in a body.

    Raises:
        ErrorWithin: there is an error in their place.
        LookupError: there is nothing.
    """
    choices = body.get("choices")
    if isinstance(choices, list) and choices:
        first = choices[0]
        error = first.get("error") or (first.get("finish_reason") == "error" and body.get("error"))
        if not error:
            return choices
        raise ErrorWithin(error)
    if body.get("error"):
        raise ErrorWithin(body["error"])
    if body.get("object") == "error":
        raise ErrorWithin(body)
    raise LookupError("no choices")


def _read_choice(body: Mapping[str, Any], choice: Mapping[str, Any], usage: Usage | None, cleaner: Cleaner) -> Reply:
    message = choice["message"]
    parts = list(_parts(message.get("content")))
    text = cleaner.text("".join(text for kind, text in parts if kind != "refusal"))
    beside = choice.get("logprobs")
    logprobs = beside.get("content") if isinstance(beside, Mapping) else None
    content: dict[str, Any] = {
        "text": text,
        "finish_reason": _name(choice.get("finish_reason"), cleaner) or "unknown",
        "model": _name(body.get("model"), cleaner) or "unknown",
        "fingerprint": _name(body.get("system_fingerprint"), cleaner),
        "usage": usage and vars(usage),
        "logprobs": cleaner.value(_finite(logprobs)) if isinstance(logprobs, list) and logprobs else None,
    }
    if not text.strip():
        refusals = [text for kind, text in parts if kind == "refusal"]
        content |= _about_silence(body, message, "".join(refusals), cleaner)
    canonical_json(content).encode("utf-8")  # what cannot be stored is no reply
    problem = None if text.strip() else Failed(Fault("row", why_silent(content)))
    return Reply(content, content["model"], content["fingerprint"], usage, problem=problem)


def _parts(content: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts of a message with their kinds; what is no text (reasoning, images, numbers) is passed over."""
    if isinstance(content, str):
        yield "text", content
    elif isinstance(content, list):
        for part in content:
            yield from _parts(part)
    elif isinstance(content, Mapping):
        kind = content.get("type", "text")
        said = content.get("refusal" if kind == "refusal" else "text")
        if isinstance(said, str) and (kind == "refusal" or kind in TEXT_PARTS):
            yield kind, said


def _about_silence(
    body: Mapping[str, Any], message: Mapping[str, Any], refusal: str, cleaner: Cleaner
) -> dict[str, Any]:
    """Return what is kept of a reply without text: why the model refuses, and how much it reasoned."""
    refusal = refusal or str(message.get("refusal") or "")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    details = (body.get("usage") or {}).get("completion_tokens_details") or {}
    tokens = whole_number(details.get("reasoning_tokens")) if isinstance(details, Mapping) else None
    kept = {
        "refusal": cut(cleaner.text(refusal), LONGEST_REFUSAL) or None,
        "reasoning_characters": len(reasoning) if isinstance(reasoning, str) else None,
        "reasoning_tokens": tokens,
    }
    return {name: value for name, value in kept.items() if value}


def why_silent(content: Mapping[str, Any]) -> str:
    """Say why a reply holds no text, from what is kept of it."""
    reasoned = content.get("reasoning_tokens"), content.get("reasoning_characters")
    if content["finish_reason"] == "length" and any(reasoned):
        amount = f"{reasoned[0]} tokens" if reasoned[0] else f"{reasoned[1]} characters"
        return (
            f"the model gave no text: max_tokens went into its reasoning ({amount}). Raise `max_tokens`, or have the "
            "model reason less"
        )
    why = content.get("refusal") or f"finish_reason {content['finish_reason']}"
    return f"the model gave no text ({Cleaner().message(why)})"


def read_usage(said: Any, bounds: Bounds) -> Usage | None:
    """Read what a call took; None where that is not said, or cannot be."""
    if not isinstance(said, Mapping):
        return None
    given = [said.get("prompt_tokens"), said.get("completion_tokens")]
    if given == [None, None]:
        return None
    prompt, completion = (0 if value is None else whole_number(value) for value in given)
    if prompt is None or completion is None:
        return None
    if prompt > bounds.prompt_tokens or completion > bounds.completion_tokens:
        return None
    details = said.get("prompt_tokens_details")
    cached = whole_number(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    return Usage(prompt, completion, min(cached or 0, prompt))


def whole_number(value: Any) -> int | None:
    """Return a whole number that is not below 0, however it is written; None where it is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _finite(value: Any) -> Any:
    """Replace infinities, such as 1e999, which JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _name(value: Any, cleaner: Cleaner) -> str | None:
    """Return what a server calls something, as one short line."""
    if not isinstance(value, str):
        return None
    text = cleaner.text(value)
    return " ".join(text[:LONGEST_NAME].split()) or None
