"""What a student that searches for itself is taught to say: its search queries, and the passages that it chooses."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

QUERY, CHOICE = "search_query", "passage_choice"
"""The kinds of rows that teach it; rows of other kinds are answers."""
NONE = "none"
_NUMBER = re.compile(r"\d+")


def task_of(row: Mapping[str, Any]) -> str | None:
    """Return what a row teaches a student beside answering; None where it is an answer."""
    kind = row.get("kind")
    return kind if kind in (QUERY, CHOICE) else None


def queries_text(queries: Iterable[str]) -> str:
    """Lay out queries as a reply: one a line, the best first."""
    return "\n".join(" ".join(query.split()) for query in queries)


def read_queries(reply: str, most: int) -> list[str]:
    """Return the first distinct queries of a reply; none where it is empty."""
    lines = (" ".join(line.split()) for line in reply.splitlines())
    return list(dict.fromkeys(line for line in lines if line))[:most]


def choice_text(numbers: Iterable[int]) -> str:
    """Lay out the numbers of chosen passages, counted from 1, as a reply: ``1, 3``, or ``none``."""
    return ", ".join(str(number) for number in numbers) or NONE


def read_choice(reply: str, shown: int) -> list[int] | None:
    """Return the numbers that a reply names of ``shown`` passages, in their order.

    Returns:
        an empty list where it says that none helps; None where it cannot be read: it names neither ``none`` nor any of
        the passages.
    """
    named = {int(number) for number in _NUMBER.findall(reply)}
    chosen = sorted(number for number in named if 0 < number <= shown)
    if chosen:
        return chosen
    return [] if re.search(rf"\b{NONE}\b", reply, re.IGNORECASE) else None


def without_passage(target: str, number: int) -> str:
    """Take a passage out of a choice, where it was shown no more."""
    return choice_text(int(found) for found in _NUMBER.findall(target) if int(found) != number)
