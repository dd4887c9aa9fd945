"""Take off what encloses an answer that should be JSON and nothing else: reasoning, a fence of Markdown, prose."""

import json
import re

# A chat template may open the block itself, so that the reply holds its end only.
REASONING = re.compile(r"\A.*</(?:think|thinking|thought|reasoning)>", re.S | re.I)
FENCE = re.compile(r"\A```[\w+.-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\Z", re.S)
OPEN_REASONING = re.compile(r"\A\s*<(?:think|thinking|thought|reasoning)>", re.I)
MOST_TRIES = 16


def inner_json(text: str) -> str | None:
    """Return the one JSON object within a text that is more than that; None where there is none, or several.

    Examples: ```` ```json … ``` ````, ``<think>…</think> {…}``, ``Here it is: {…} I hope that helps.``
    """
    rest = REASONING.sub("", text).strip().removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    if OPEN_REASONING.match(rest):
        return None  # it was cut while the model reasoned: what stands there is a draft
    fenced = FENCE.match(rest)
    if fenced and "```" not in fenced[1]:
        return fenced[1].strip()
    return _only_object(rest)


def _only_object(text: str) -> str | None:
    """Find the only object of JSON in prose; a brace that begins none is prose."""
    decoder = json.JSONDecoder()
    found = None
    at = text.find("{")
    for _ in range(MOST_TRIES):
        if at < 0:
            return found
        try:
            _, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip()):
                return None  # it was cut: what is whole in it is a part
            end = at + 1
        except (ValueError, RecursionError):
            return None
        else:
            if found is not None:
                return None
            found = text[at:end]
        at = text.find("{", end)
    return None
