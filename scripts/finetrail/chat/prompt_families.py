"""Families of prompts that are one string, and the control tokens that no text of theirs may hold."""

import re

from finetrail.chat.chat_layout import LAYOUTS

# Families whose form is one string, and the token that it begins with.
FAMILIES = {
    "chatml": None,
    "llama3": "<|begin_of_text|>",
    "mistral": "<s>",
    "qwen": None,
    "gemma": "<bos>",
}


_TOKEN = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")


def control_tokens() -> list[str]:
    """Return the control tokens of all families: what a tokenizer would not read as words."""
    found = {bos for bos in FAMILIES.values() if bos}
    for layout in LAYOUTS.values():
        around = (*layout.user, *layout.assistant, *(layout.system or ()), layout.prompt_lead, *layout.stop)
        found.update(_TOKEN.findall(" ".join(around)))
    return sorted(found)


# Where one stands in a text, a model would end its turn there, or begin another.
CONTROL = re.compile("|".join(map(re.escape, control_tokens())))
