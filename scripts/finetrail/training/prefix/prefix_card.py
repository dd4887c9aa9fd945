"""The model card of a model that reads a picture by soft tokens: what it is, how it was trained, where it can run."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetrail.examples.picture_tasks import TASKS

CARD = """\
---
library_name: peft
pipeline_tag: image-text-to-text
tags: [lora, image-prefix]
{hub}---

# {title}

Base: {base}. LoRA of rank {rank} (alpha {alpha}) on the language model. Before the prompt of a task
about an image stand {image_tokens} soft tokens and the embedding of its class. Last blocks of the image
encoder that were tuned: {trainable_blocks}. Learning rate {learning_rate:g}, that of the encoder
{encoder_learning_rate:g}, seed {seed}.

## Rows that were drawn

| phase | A caption | B summary | C link | D text_summary |
|---|---|---|---|---|
{phases}

A and B are shown an image. The class in the prompt of B is the classifier's, and a model is refused
under another mapping of classes than that of `cond_name_to_id.json`.

## Where it runs

An image prefix cannot enter GGUF. The vectors before a prompt are made of the picture by an encoder
and a projection (`stage2_prefix_modules`), and are no tokens of the vocabulary: the format has no
place for these modules, and llama.cpp and Ollama take text, or images of architectures that they
know. So `export.format` is `none` by default. With `gguf` the language model is merged and exported
alone, named `...-text`: for the tasks that are shown no image (C and D), on whose prompts its parity
is checked. It sees nothing.
"""


def card_text(
    title: str, tuning: Mapping[str, Any], drawn: Sequence[Mapping[str, int]], base: Mapping[str, Any]
) -> str:
    """Write the card, as Markdown with the fields that model hubs read.

    Args:
        title: names recipe, model and fold.
        tuning: the settings of the training.
        drawn: task → rows, of each phase.
        base: what the base model's manifest says of it.
    """
    hub = base.get("hub")
    made = f"a tiny {base['tiny']}, made on the spot" if base.get("tiny") else "a local folder"
    rows = ([str(number), *(str(phase.get(task, 0)) for task in TASKS)] for number, phase in enumerate(drawn, start=1))
    return CARD.format(
        title=title,
        hub=f"base_model: {hub}\n" if hub else "",
        base=f"{hub} at {base['revision']}" if hub else made,
        phases="\n".join(f"| {' | '.join(row)} |" for row in rows),
        **{name: tuning[name] for name in ("rank", "alpha", "learning_rate", "seed")},
        **{name: tuning["prefix"][name] for name in ("image_tokens", "trainable_blocks", "encoder_learning_rate")},
    )
