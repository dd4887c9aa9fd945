"""A question and its answer in the forms that trainers read: as fields, as turns, or as one string of a family."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from finetrail.chat.bounded_template import UnfitRow, render_template
from finetrail.chat.chat_layout import LAYOUTS
from finetrail.chat.messages import whole_messages
from finetrail.chat.prompt_families import CONTROL, FAMILIES
from finetrail.models.control_tokens import control_tokens
from finetrail.rows.records import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Form = Callable[[str, str, str], Row]
"""Lays out system message, question and answer."""

HOLDS_CONTROL = "its words hold a control token of the template"
# The name of the base model's own template.
OWN = "tokenizer"


def alpaca(system: str, question: str, answer: str) -> Row:
    """Return the fields of Stanford Alpaca's data; a system message has no place of its own there."""
    return {"instruction": f"{system}\n\n{question}" if system else question, "input": "", "output": answer}


def sharegpt(system: str, question: str, answer: str) -> Row:
    """Return the turns of ShareGPT's data."""
    turns = [("system", system)] if system else []
    turns += [("human", question), ("gpt", answer)]
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in turns]}


def family_text(family: str) -> Form:
    """Return the form of a model family: one string, with all its control tokens, BOS included.

    Raises:
        UnfitRow: when it is called: a text holds a control token, which would be one of the string's.
    """
    layout, bos = LAYOUTS[family], FAMILIES[family]

    def rendered(system: str, question: str, answer: str) -> Row:
        turns = whole_messages(system, [], question, answer)
        if any(CONTROL.search(turn["content"]) for turn in turns):
            raise UnfitRow(HOLDS_CONTROL, where=question)
        messages = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
        return {"text": layout.render(messages, add_generation_prompt=False, bos_token=bos)}

    return rendered


def own_form(tokenizer: "PreTrainedTokenizerBase") -> Form:
    """Return the form of a tokenizer's own chat template: one string, with all that the template writes.

    Raises:
        UnfitRow: when it is called: a text holds a control token, which would be one of the string's; or the template
            refuses the messages.
    """

    def laid_out(system: str, question: str, answer: str) -> Row:
        messages = whole_messages(system, [], question, answer)
        if control_tokens(tokenizer).count(messages):
            raise UnfitRow(HOLDS_CONTROL, where=question)
        return {"text": render_template(tokenizer, messages, where=question, add_generation_prompt=False).text}

    return laid_out


TEMPLATES: dict[str, Form] = {
    "alpaca": alpaca,
    "sharegpt": sharegpt,
    **{family: family_text(family) for family in FAMILIES},
}
