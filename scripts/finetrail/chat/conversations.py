"""Which records are a question of its own, and which a turn of a conversation."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from finetrail.rows.records import Row

Turns = Literal["single", "multi"]


class Conversations:
    """The number of turns of every session of a recipe; a session of one turn is single-turn."""

    def __init__(self, records: Iterable[Row]) -> None:
        self._turns = Counter(record["session_id"] for record in records)

    def turns(self, row: Row) -> Turns:
        """Say whether a record, or what was made of it, comes from a single-turn or a multi-turn session."""
        return "multi" if self._turns[row["session_id"]] > 1 else "single"

    def takes(self, row: Row, wanted: str) -> bool:
        """Say whether a record is among the wanted ones: ``comb`` takes both kinds together."""
        return wanted in ("comb", self.turns(row))
