"""The rows of the train split among all rows of a step."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from finetrail.rows.records import Row, read_rows


class TrainRows:
    """Passes the train rows on, and counts the others.

    Args:
        rows: rows with the ids of the records.
        splits: splits.jsonl, which has every record.

    Attributes:
        others: rows of dev and test so far.
    """

    def __init__(self, rows: Iterable[Row], splits: Path) -> None:
        self._rows = rows
        self._splits: dict[str, str] = {row["id"]: row["split"] for row in read_rows(splits)}
        self.others = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            if self.is_train(row):
                yield row
            else:
                self.others += 1

    def is_train(self, row: Row) -> bool:
        """Say whether a record belongs to the train split."""
        return self._splits[row["id"]] == "train"
