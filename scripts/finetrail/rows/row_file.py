"""Random access to the rows of a JSON Lines file by id, without holding them."""

from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, parse_line


class RowFile:
    """A file whose rows are read on demand; memory holds ids and byte offsets only.

    Attributes:
        missing: what is said of an id that the file does not have.

    Raises:
        FinetrailError: the file is missing, a row has no id, or two rows share one.
    """

    missing = "the file has no such row"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[str, int] = {}
        try:
            self._stream = path.open("rb")
        except OSError as error:
            raise FinetrailError(f"cannot be read: {error.strerror}", where=str(path)) from error
        offset = 0
        for number, raw in enumerate(self._stream, start=1):
            row_id = parse_line(raw, path, number).get("id")
            if not isinstance(row_id, str) or row_id in self._offsets:
                cause = f"the id {row_id!r} occurs twice" if row_id in self._offsets else "the row has no id"
                raise FinetrailError(cause, where=f"{path}:{number}")
            self._offsets[row_id] = offset
            offset += len(raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def __contains__(self, row_id: str) -> bool:
        """Say whether there is a row of this id."""
        return row_id in self._offsets

    def names(self) -> Collection[str]:
        """Return all ids in the order of the file."""
        return self._offsets.keys()

    def __getitem__(self, row_id: str) -> Row:
        """Return a row.

        Raises:
            FinetrailError: there is no such row.
        """
        offset = self._offsets.get(row_id)
        if offset is None:
            raise FinetrailError(self.missing, where=f"{self._path} ({row_id})")
        self._stream.seek(offset)
        return parse_line(self._stream.readline(), self._path, 0)


def place_without(number: int, left_out: Iterable[int]) -> int:
    """Return the place of the item with a number, counted from 0 among those that are not left out.

    Args:
        number: of the item.
        left_out: places of items that do not count, each once.
    """
    for place in sorted(left_out):
        number += place <= number
    return number
