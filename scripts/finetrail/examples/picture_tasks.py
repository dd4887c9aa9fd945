"""The four tasks of a model that writes about pictures, and the prompt of each.

A ``caption``: image → four sentences. B ``summary``: image and its class → summary of the discussion. C ``link``: the
first three sentences and the summary → the fourth. D ``text_summary``: the first three sentences of all captions →
summary. A and B are shown the image before their prompt; C and D are text alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

TASKS = ("caption", "summary", "link", "text_summary")
SHOWN_IMAGES = ("caption", "summary")
SEEN_SENTENCES = 3  # of a caption: those that were written without sight of the discussion


def task_prompt(kind: str, parts: Mapping[str, Any]) -> str:
    """Write the prompt of a task.

    Args:
        kind: one of `TASKS`.
        parts: ``cond_name`` (summary), ``seen`` and ``told`` (link: sentences of caption and summary), ``captions``
            (text_summary: one line an image).
    """
    if kind == "caption":
        return "Describe the chart in four sentences: two of what is seen, one of what it means, one that links it."
    if kind == "summary":
        return f"The chart shows {parts['cond_name']}. Write the summary of the discussion."
    if kind == "link":
        told = " ".join(parts["told"])
        return f"Caption: {' '.join(parts['seen'])}\nSummary: {told}\nWrite the sentence that links them."
    return "\n".join(["Charts:", *parts["captions"], "Write the summary of the discussion."])


def shorter(kind: str, parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Leave out the last piece of what a prompt shows; None where nothing can go any more.

    A link's prompt loses sentences of the summary, a text_summary's the last captions; one stays in any case.
    """
    name = {"link": "told", "text_summary": "captions"}.get(kind)
    pieces: Sequence[str] = parts[name] if name else ()
    return {**parts, name: list(pieces[:-1])} if name and len(pieces) > 1 else None
