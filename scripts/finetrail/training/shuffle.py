"""The shuffled-label control: the same rows, each with the answer of a row of another session.

Of a multiple choice only the label moves: the reasoning stays, and the answer names, among the row's own options, the
one that stands where the other row's right one does. Whatever the control knows, it does not know it from the labels.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from finetrail.chat.student_tasks import task_of
from finetrail.errors import FinetrailError
from finetrail.examples.choices import answer_text
from finetrail.rows.records import derive_seed


def shuffle_targets(rows: Sequence[Mapping[str, Any]], seed: int, group: str = "session_id") -> list[dict[str, Any]]:
    """Permute the assistant's targets so that none stays in its own group; each task's among its own rows.

    Args:
        rows: chat rows whose last message is the target; ids, prompts and order stay.
        seed: of the order.
        group: the field that names a row's group.

    Raises:
        FinetrailError: one group holds more than half of the rows of a task, so that no such permutation exists.
    """
    places: dict[str | None, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(task_of(row), []).append(place)
    shuffled: dict[int, dict[str, Any]] = {}
    for numbers in places.values():
        shuffled |= zip(numbers, _shuffle([rows[number] for number in numbers], seed, group), strict=True)
    return [shuffled[place] for place in range(len(rows))]


def _shuffle(rows: Sequence[Mapping[str, Any]], seed: int, group: str) -> list[dict[str, Any]]:
    """Shuffle the targets of one task.

    Rows are put in a seeded order with each group in one piece, and every target moves on by the size of the
    largest group: whoever stands there belongs to another group.
    """
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(str(row[group]), []).append(index)
    largest = max((len(members) for members in groups.values()), default=0)
    if 2 * largest > len(rows):
        raise FinetrailError(
            f"one {group} holds {largest} of {len(rows)} rows, so its targets cannot all go elsewhere",
            hint="The shuffled-label control needs rows of at least two groups, none with more than half: add sessions",
        )
    rng = random.Random(derive_seed("shuffle targets", seed))
    order: list[int] = []
    for name in rng.sample(sorted(groups), k=len(groups)):
        order += rng.sample(groups[name], k=len(groups[name]))
    source = {place: order[(position + largest) % len(order)] for position, place in enumerate(order)}
    return [
        {**row, "messages": [*row["messages"][:-1], _target(row, rows[source[index]])]}
        for index, row in enumerate(rows)
    ]


def _target(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    """Return the target that a row gets from another one."""
    if "choice" not in row or "choice" not in other:
        return dict(other["messages"][-1])
    choice = row["choice"]
    label = other["choice"]["key"] % len(choice["options"])
    reasoning = row["messages"][-1]["content"].rpartition("Answer: ")[0]
    return {"role": "assistant", "content": f"{reasoning}Answer: {answer_text(choice, label)}"}
