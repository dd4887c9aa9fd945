"""Find the chat layout that a tokenizer's own template follows."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from finetrail.chat.bounded_template import render_template
from finetrail.chat.chat_layout import LAYOUTS, ChatLayout
from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM = {"role": "system", "content": "Answer in one sentence."}
_TURNS = (
    {"role": "user", "content": "Who wrote it?\n\nTell me the year, too."},
    {"role": "assistant", "content": "She did, in 1998."},
    {"role": "user", "content": "And where?"},
    {"role": "assistant", "content": "In Lisbon; 'quoted' {{ text }}."},
    {"role": "user", "content": "And where?"},
)
# Prompts, as a server renders them: each ends with a question and asks for the answer.
PROBES: tuple[tuple[dict[str, str], ...], ...] = (
    _TURNS[:1],
    (_SYSTEM, *_TURNS[:1]),
    _TURNS[:3],
    (_SYSTEM, *_TURNS[:3]),
    (_SYSTEM, *_TURNS),
)


def template_text(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Mapping[str, str]]) -> str:
    """Render a prompt with the tokenizer's own template, the assistant's turn opened, thinking switched off.

    Raises:
        FinetrailError: see `finetrail.chat.bounded_template.render_template`.
    """
    return render_template(tokenizer, messages, where="chat_template", add_generation_prompt=True).text


def detect_layout(tokenizer: "PreTrainedTokenizerBase") -> ChatLayout:
    """Pick the layout that reproduces the tokenizer's template on prompts with and without system message.

    Of layouts with equal text, the one wins whose stop strings are tokens of the vocabulary most often.

    Raises:
        FinetrailError: no layout does; names the nearest one and the first text that differs.
    """
    wanted = [template_text(tokenizer, probe) for probe in PROBES]
    vocabulary = tokenizer.get_vocab()
    matching = [layout for layout in LAYOUTS.values() if _rendered(layout, tokenizer) == wanted]
    if matching:
        return max(matching, key=lambda layout: sum(stop in vocabulary for stop in layout.stop))
    nearest = max(
        LAYOUTS.values(),
        key=lambda layout: SequenceMatcher(
            None, "".join(wanted), "".join(_rendered(layout, tokenizer)), autojunk=False
        ).ratio(),
    )
    template, layout_text = next(
        pair for pair in zip(wanted, _rendered(nearest, tokenizer), strict=True) if pair[0] != pair[1]
    )
    raise FinetrailError(
        f"no known chat layout writes what the tokenizer's template writes; the nearest is {nearest.name!r}, "
        + first_difference("the template", template, "the layout", layout_text),
        hint=f"Set base_model.template to {nearest.name}, or to another of {', '.join(LAYOUTS)}: "
        "the model is then trained and exported in that layout",
    )


def first_difference(name: str, text: str, other_name: str, other: str) -> str:
    """Say where two texts part: ``at character N <name> has '…' and <other name> '…'``."""
    place = next(
        (number for number, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]),
        min(len(text), len(other)),
    )
    here, there = text[place : place + 40], other[place : place + 40]
    return f"at character {place} {name} has {here!r} and {other_name} {there!r}"


def _rendered(layout: ChatLayout, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    bos = tokenizer.bos_token
    return [layout.render(probe, add_generation_prompt=True, bos_token=bos) for probe in PROBES]
