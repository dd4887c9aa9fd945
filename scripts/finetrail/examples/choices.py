"""Multiple choice: how options stand in a prompt, how an answer names one, and how a reply is read.

Three kinds of answers are known: a lettered option of the prompt (``C: Unknown``), the relation of two texts
(``entailment``, ``neutral``, ``contradiction``), and a verdict on two replies (``[[A]]``, ``[[B]]``, or ``[[C]]`` for a
tie). A reply is read strictly: what cannot be read for certain names no option.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from finetrail.rows.records import derive_seed

LETTERS = "ABCDEFGHIJ"
RELATIONS = ("entailment", "neutral", "contradiction")
VERDICTS = ("[[A]]", "[[B]]", "[[C]]")
ANSWER = "Answer: "
FIXED = {"relation": RELATIONS, "verdict": VERDICTS}

NO_LAYOUT = "the reply is not laid out as Reasoning, Reflection, Answer"
NO_OPTION = "the answer names no option"
CONTRADICTION = "letter and text of the answer name different options"

Choice = Mapping[str, Any]
"""``kind`` (letter, relation or verdict), ``options`` and ``key``, the index of the right one; and what is known
besides: the index of the option ``unknown``, or what a benchmark says of the question."""

_OPTION = re.compile(r"^([A-J]): (\S.*)$")
_LETTERED = re.compile(r"^([A-J])\s*[:.)]\s*(\S.*)$")
_REPLY = re.compile(r"Reasoning: (\S.*?)\n\nReflection: (YES|NO)\n\nAnswer: (\S[^\n]*)", re.DOTALL)
_LABEL = re.compile(r"^(?:Reasoning|Reflection|Answer):", re.MULTILINE)
_ANSWER_LINE = re.compile(r"^Answer:[ \t]*(\S.*)$", re.MULTILINE)


class Unreadable(ValueError):
    """A reply names no option for certain; the message says why."""


class Reply(NamedTuple):
    """A reply as it was read: the answer is the index of an option."""

    reasoning: str
    reflection: bool
    answer: int


def option_lines(options: Sequence[str]) -> str:
    """Lay out lettered options, one a line."""
    return "\n".join(f"{letter}: {option}" for letter, option in zip(LETTERS, options, strict=False))


def split_prompt(prompt: str) -> tuple[str, list[str]]:
    """Cut a prompt into what stands before its lettered options, and the options: its last lines, from A on.

    A prompt without such lines has no options.
    """
    lines = prompt.rstrip().split("\n")
    found: list[tuple[str, str]] = []
    while lines and (match := _OPTION.match(lines[-1])):
        found.insert(0, (match[1], match[2].strip()))
        lines.pop()
        if match[1] == "A":
            break
    letters = "".join(letter for letter, _ in found)
    if len(found) < 2 or letters != LETTERS[: len(found)]:
        return prompt, []
    return "\n".join(lines), [text for _, text in found]


def answer_text(choice: Choice, index: int) -> str:
    """Return how an answer names an option."""
    option: str = choice["options"][index]
    return f"{LETTERS[index]}: {option}" if choice["kind"] == "letter" else option


def read_answer(text: str, choice: Choice) -> int:
    """Return the index of the option that an answer names; case and a full stop at the end make no difference.

    Raises:
        Unreadable: it names none, or its letter and its text name different ones.
    """
    options = [_folded(option) for option in choice["options"]]
    if choice["kind"] != "letter":
        return _index(options, _folded(text))
    match = _LETTERED.match(text.strip())
    if match is None or match[1] not in LETTERS[: len(options)]:
        raise Unreadable(NO_OPTION)
    if _index(options, _folded(match[2])) != LETTERS.index(match[1]):
        raise Unreadable(CONTRADICTION)
    return LETTERS.index(match[1])


def read_reply(text: str, choice: Choice) -> Reply:
    """Read a reply: ``Reasoning: …``, ``Reflection: YES`` (or ``NO``) and ``Answer: …``, an empty line between them.

    Raises:
        Unreadable: anything else stands there, a label occurs twice, or the answer cannot be read.
    """
    text = text.strip()
    match = _REPLY.fullmatch(text)
    if match is None or len(_LABEL.findall(text)) != 3:
        raise Unreadable(NO_LAYOUT)
    return Reply(match[1], match[2] == "YES", read_answer(match[3], choice))


def read_prediction(text: str, choice: Choice) -> int:
    """Read what a model answered: its one line ``Answer: …``, or all of it where there is no such line.

    The reasoning is left to the model: a score asks for the answer only.

    Raises:
        Unreadable: see `read_answer`; or several lines answer.
    """
    lines = _ANSWER_LINE.findall(text)
    if len(lines) > 1:
        raise Unreadable(NO_LAYOUT)
    return read_answer(lines[0] if lines else text, choice)


def permute(prompt: str, choice: Choice, *seed: object) -> tuple[str, Choice]:
    """Bring the lettered options of a prompt into another order; kinds with fixed answers stay as they are.

    Args:
        prompt: ends with the options.
        choice: its indices move with their options.
        seed: whatever names the order.
    """
    if choice["kind"] != "letter":
        return prompt, choice
    stem, options = split_prompt(prompt)
    order = list(range(len(options)))
    random.Random(derive_seed("options", *seed)).shuffle(order)
    moved = {
        name: order.index(value) for name in ("key", "unknown", "target") if (value := choice.get(name)) is not None
    }
    shown = [options[index] for index in order]
    return f"{stem}\n{option_lines(shown)}", {**choice, "options": shown, **moved}


def _index(options: Sequence[str], text: str) -> int:
    if text not in options:
        raise Unreadable(NO_OPTION)
    return options.index(text)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold().removesuffix(".")
