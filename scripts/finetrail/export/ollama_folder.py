"""The folder that `ollama create` reads, and the conversations that parity is checked on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.export.modelfile import render_modelfile
from finetrail.records import Row
from finetrail.text.detect_layout import detect_layout
from finetrail.text.prompts import chat_messages

CONVERSATIONS = 8


def modelfile_for(
    model_dir: Path, *, source: str, system: str, parameters: Mapping[str, Any], answer_tokens: int
) -> str:
    """Render the Modelfile of a model folder, with the chat layout that it was trained in.

    Args:
        model_dir: the merged model, with its tokenizer.
        source: what FROM names.
        system: the system prompt of the training.
        parameters: the recipe's parameters; what is None is left out.
        answer_tokens: the longest answer, where the recipe names no other.

    Raises:
        FinetrailError: the tokenizer's chat template follows no known layout.
    """
    from transformers import AutoTokenizer

    layout = detect_layout(AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True))
    given = {"num_predict": answer_tokens} | {name: value for name, value in parameters.items() if value is not None}
    return render_modelfile(
        source=source, template=layout.go_template, stop=layout.stop, system=system or None, parameters=given
    )


def parity_conversations(rows: Sequence[Row], system: str) -> list[list[dict[str, str]]]:
    """Lay out the first rows as conversations that end with the original answer.

    Every other one keeps its last exchange, so that turns of both kinds are checked; one passage is enough.
    """
    conversations = [
        chat_messages(
            system,
            row["history"][-2:] if number % 2 else [],
            row["question"],
            row["evidence"][:1],
            row["answer"],
        )
        for number, row in enumerate(rows[:CONVERSATIONS])
    ]
    return [
        [{"role": message["role"], "content": message["content"]} for message in conversation]
        for conversation in conversations
    ]
