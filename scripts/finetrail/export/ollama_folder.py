"""The folder that `ollama create` reads, and the conversations that parity is checked on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any

from finetrail.chat.messages import Message, chat_messages, whole_messages
from finetrail.examples.picture_tasks import SHOWN_IMAGES, shorter, task_prompt
from finetrail.export.modelfile import render_modelfile
from finetrail.models.base_model import BaseModel
from finetrail.rows.records import Row

CONVERSATIONS = 8


def modelfile_for(
    model: BaseModel, *, source: str, system: str, parameters: Mapping[str, Any], answer_tokens: int
) -> str:
    """Render the Modelfile of a model folder, with the chat layout that it was trained in.

    Args:
        model: the merged one, with its tokenizer.
        source: what FROM names.
        system: the system prompt of the training.
        parameters: the recipe's parameters; what is None is left out.
        answer_tokens: the longest answer, where the recipe names no other.

    Raises:
        FinetrailError: the tokenizer's chat template follows no known layout.
    """
    layout = model.layout
    given = {"num_predict": answer_tokens} | {name: value for name, value in parameters.items() if value is not None}
    return render_modelfile(
        source=source, template=layout.go_template, stop=layout.stop, system=system or None, parameters=given
    )


def parity_rows(rows: Iterable[Row]) -> list[Row]:
    """Choose the rows that parity is checked on: the first of each kind, in turn.

    A task about a picture that the language model alone cannot be shown is passed over.
    """
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        first = kinds.setdefault(row["kind"], [])
        if row["kind"] not in SHOWN_IMAGES and len(first) < CONVERSATIONS:
            first.append(row)
    in_turn = (row for place in zip_longest(*kinds.values()) for row in place if row is not None)
    return list(islice(in_turn, CONVERSATIONS))


def fitting(row: Row, tokens: Callable[[str], int], most: int) -> Row:
    """Leave out the last pieces of what a task's prompt shows until it fits, as in training; other rows stay."""
    task = row.get("task")
    parts: dict[str, Any] | None = task["parts"] if isinstance(task, dict) else None
    if parts is None:
        return row
    while tokens(task_prompt(row["kind"], parts)) > most and (fewer := shorter(row["kind"], parts)) is not None:
        parts = fewer
    prompt = task_prompt(row["kind"], parts)
    return row | {"question": prompt, "messages": [*row["messages"][:-2], {"content": prompt}, row["messages"][-1]]}


def parity_conversations(rows: Sequence[Row], system: str) -> list[list[dict[str, str]]]:
    """Lay out rows as conversations that end with the original answer.

    Every other one keeps its last exchange, so that turns of both kinds are checked; one passage is enough. A prompt
    that the model is shown as it is stays so.
    """
    conversations = [
        _conversation(row, system, row["history"][-2:] if number % 2 else []) for number, row in enumerate(rows)
    ]
    return [
        [{"role": message["role"], "content": message["content"]} for message in conversation]
        for conversation in conversations
    ]


def _conversation(row: Row, system: str, history: Sequence[Mapping[str, str]]) -> list[Message]:
    if row["messages"][-2]["content"] == row["question"]:
        return whole_messages(system, history, row["question"], row["answer"])
    return chat_messages(system, history, row["question"], row["evidence"][:1], row["answer"])
