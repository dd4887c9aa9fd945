"""The final string of a row: what the trainer tokenizes, and what the layout, so a Modelfile's TEMPLATE, writes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetrail.chat.bounded_template import UnfitRow, render_template
from finetrail.chat.chat_layout import ChatLayout
from finetrail.chat.detect_layout import first_difference
from finetrail.errors import FinetrailError
from finetrail.models.chat_tokens import chat_tokens
from finetrail.models.masks import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Rendered:
    """A row as one string.

    Attributes:
        text: BOS and all control tokens included, up to the end of the last answer's turn: tokenize it without adding
            any.
        answer_start: where in the text the last answer begins.
    """

    text: str
    answer_start: int


def rendered(example: Example, tokenizer: "PreTrainedTokenizerBase", layout: ChatLayout) -> Rendered:
    """Render an encoded row, and hold the string to its token ids and to the layout.

    Raises:
        UnfitRow: a text of the row holds a control token.
        FinetrailError: the string has other tokens than the trainer sees, or the layout writes another prompt.
    """
    messages, where = list(example.messages), example.row_id
    if example.control_texts:
        raise UnfitRow("its words hold a control token, which would be one of the string's", where=where)
    prompt = render_template(tokenizer, messages[:-1], where=where, add_generation_prompt=True).text
    whole = render_template(tokenizer, messages, where=where, add_generation_prompt=False).text
    end = str(tokenizer.convert_ids_to_tokens(chat_tokens(tokenizer).end))
    text = whole[: whole.index(end, len(prompt)) + len(end)]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not text.startswith(prompt) or ids != example.input_ids:
        raise FinetrailError("the rendered text has other tokens than the trainer sees", where=where)
    asked = [{"role": message["role"], "content": message["content"]} for message in messages[:-1]]
    laid_out = layout.render(asked, add_generation_prompt=True, bos_token=tokenizer.bos_token)
    if laid_out != prompt:
        difference = first_difference("the chat template", prompt, f"the layout {layout.name}", laid_out)
        raise FinetrailError(f"the Modelfile's TEMPLATE would write another prompt: {difference}", where=where)
    return Rendered(text, len(prompt))
