"""Shards: the rows of one step shared out among several jobs, and put together again in the order of its input."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.rows.records import Line, Row, read_jsonl, sha256_text


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of a step's rows; `index` counts from 1. A row's shard follows from its id alone."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``2/3``, the second of three.

        Raises:
            argparse.ArgumentTypeError: it is no such text.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise argparse.ArgumentTypeError(f"{text!r} is no shard; the second of three is 2/3")
        return cls(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Whether all rows are in it."""
        return self.count == 1

    def holds(self, row_id: str) -> bool:
        """Say whether a row belongs to this shard."""
        return self.is_whole or shard_of(row_id, self.count) == self.index


def shard_of(row_id: str, count: int) -> int:
    """Return the shard of a row, from 1 to `count`: never by its place, so that a new row moves no other."""
    return int(sha256_text(row_id)[:15], 16) % count + 1


class _ShardFile:
    """The rows of one shard, taken from the front."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self._key = key
        self._lines = read_jsonl(path)
        self.next: Line | None = next(self._lines, None)

    def take(self, row_id: str) -> Iterator[Row]:
        """Yield the next rows as long as they were made of this input row."""
        taken: set[str] = set()
        while self.next is not None and self.next.row.get(self._key) == row_id:
            name = self.next.row["id"]
            if name in taken:
                raise FinetrailError("the row occurs twice", where=f"{self.path}:{self.next.number} ({name})")
            taken.add(name)
            yield self.next.row
            self.next = next(self._lines, None)


def merge_rows(order: Iterable[Row], parts: Mapping[int, Path], key: str = "id") -> Iterator[Row]:
    """Put the rows of all shards into the order of the step's input; memory holds one row a shard.

    Args:
        order: the input's rows; those that the step dropped or set aside have no row in any shard.
        parts: the file of each shard, by its number from 1; each keeps the order of the input.
        key: what names, in a shard's rows, the input row that they were made of.

    Raises:
        FinetrailError: names a row that occurs twice, or that no row of the input leads to in its place.
    """
    files = {index: _ShardFile(path, key) for index, path in parts.items()}
    for row in order:
        yield from files[shard_of(row["id"], len(files))].take(row["id"])
    for line, path in ((file.next, file.path) for file in files.values()):
        if line is not None:
            raise FinetrailError(
                "the row occurs twice, or its input row is gone, elsewhere, or of another shard",
                where=f"{path}:{line.number} ({line.row.get('id')})",
                hint="Remove the folder of the shards and run again: what was paid is kept",
            )
