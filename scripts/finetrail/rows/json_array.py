"""Read the objects of a JSON file that is one list, as published data sets are, on the ijson library."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from finetrail.rows.problems import Problems, lines
from finetrail.rows.records import Row

LOOK = 1 << 16
BOM = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """One object of a file.

    Attributes:
        number: its line, or its place in the list, from 1: published lists stand on a single line.
        row: the object.
        where: what messages call its place.
    """

    number: int
    row: Row
    where: str


def read_objects(path: Path, problems: Problems) -> Iterator[Entry]:
    """Stream the objects of a JSON list or of a JSON Lines file; memory holds one of them.

    What cannot be read goes to `problems`; behind a fault in a list nothing can be read.
    """
    try:
        with path.open("rb") as stream:
            begin = stream.read(LOOK)
            if begin.removeprefix(BOM).lstrip().startswith(b"["):
                stream.seek(len(BOM) if begin.startswith(BOM) else 0)
                yield from _listed(stream, path, problems)
                return
    except OSError as error:
        problems.add(str(path), f"cannot be read: {error.strerror}")
        return
    for line in lines(path, problems):
        yield Entry(line.number, line.row, f"{path}:{line.number}")


def _listed(stream: IO[bytes], path: Path, problems: Problems) -> Iterator[Entry]:
    import ijson

    twice: list[str] = []

    class Once(dict[str, Any]):
        """Notes the keys that occur twice in an object; an error raised here would not come through ijson's C code."""

        def __setitem__(self, key: str, value: Any) -> None:
            if key in self:
                twice.append(key)
            super().__setitem__(key, value)

    number = 0
    try:
        for number, value in enumerate(ijson.items(stream, "item", use_float=True, map_type=Once), start=1):
            where = f"{path}: entry {number}"
            if not isinstance(value, dict):
                problems.add(where, f"expected a JSON object, found {type(value).__name__}")
            elif twice:
                problems.add(where, f"the key {twice[0]!r} occurs twice in one object")
            else:
                yield Entry(number, value, where)
            twice.clear()
    except ijson.JSONError as error:
        said, *_ = str(error).splitlines() or ["unknown"]
        cut = ": the list is cut off" if "premature EOF" in said else ""
        problems.add(str(path), f"not valid JSON behind entry {number}: {said}{cut}")
        return
    if not number:
        problems.add(str(path), "the list is empty")
