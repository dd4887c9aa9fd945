"""Rows as JSON Lines: streaming read and write, and ids and seeds derived from content."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, NamedTuple

from finetrail.errors import FinetrailError

Row = dict[str, Any]
CHUNK_BYTES = 1 << 20


class Line(NamedTuple):
    """One row and the line (counted from 1) that it stands on."""

    number: int
    row: Row


def reject_duplicates(pairs: list[tuple[str, Any]]) -> Row:
    """Refuse a key that occurs twice in one object (for ``object_pairs_hook``)."""
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"the key {repeated[0]!r} occurs twice in one object")
    return row


def reject_constant(name: str) -> float:
    """Refuse NaN and the infinities (for ``parse_constant``)."""
    raise ValueError(f"{name} is not JSON")


def finite_number(text: str) -> float:
    """Read a number, and refuse one that is too large for a float (for ``parse_float``)."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


# Made once: `json.loads` with hooks makes one a call, a quarter of the time of a short line.
_DECODER = json.JSONDecoder(
    object_pairs_hook=reject_duplicates, parse_constant=reject_constant, parse_float=finite_number
)


def parse_line(raw: bytes, path: Path, number: int) -> Row:
    """Parse one line into an object.

    Raises:
        FinetrailError: invalid UTF-8, invalid JSON or a value that is no object, with ``file:line``.
    """
    where = f"{path}:{number}"
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise FinetrailError(
            f"invalid UTF-8 at byte {error.start + 1} of the line",
            where=where,
            hint="Convert the file to UTF-8, for example with iconv",
        ) from error
    try:
        row = _DECODER.decode(text)
    except ValueError as error:
        complete = raw.endswith(b"\n")
        cause = f"not valid JSON: {error}" if complete else f"the last line is cut off: {error}"
        hint = "Mend or remove the line" if complete else "The file was not written to its end: make it again"
        raise FinetrailError(cause, where=where, hint=hint) from error
    except RecursionError as error:
        raise FinetrailError("nested too deeply to be read", where=where, hint="Mend or remove the line") from error
    if not isinstance(row, dict):
        raise FinetrailError(
            f"expected a JSON object, found {type(row).__name__}", where=where, hint="One object a line"
        )
    return row


def read_jsonl(path: Path) -> Iterator[Line]:
    """Stream the rows of a JSON Lines file; blank lines are passed over.

    Raises:
        FinetrailError: the file is missing, or a line cannot be parsed (see `parse_line`).
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise FinetrailError(f"cannot be read: {error.strerror}", where=str(path)) from error
    with stream:
        for number, raw in enumerate(stream, start=1):
            if raw.strip():
                yield Line(number, parse_line(raw, path, number))


def read_rows(path: Path) -> Iterator[Row]:
    """Stream the rows of a JSON Lines file without their line numbers."""
    for line in read_jsonl(path):
        yield line.row


def read_table(path: Path, key: str = "id") -> dict[str, Row]:
    """Read a file whose rows have unique ids into a table by id.

    Raises:
        FinetrailError: a row has no such key, or two rows share it.
    """
    table: dict[str, Row] = {}
    for line in read_jsonl(path):
        row_id = line.row.get(key)
        if not isinstance(row_id, str):
            raise FinetrailError(f"the row has no {key!r}", where=f"{path}:{line.number}")
        if row_id in table:
            raise FinetrailError(f"the {key} {row_id!r} occurs twice", where=f"{path}:{line.number}")
        table[row_id] = line.row
    return table


def zip_rows(left: Path, right: Path, key: str = "id") -> Iterator[tuple[Row, Row]]:
    """Stream two files that hold the same rows in the same order, side by side.

    Raises:
        FinetrailError: the ids of a pair differ, or one file is longer.
    """
    for number, (a, b) in enumerate(zip_longest(read_rows(left), read_rows(right)), start=1):
        if a is None or b is None or a[key] != b[key]:
            raise FinetrailError(f"row {number} differs from row {number} of {right}", where=str(left))
        yield a, b


def dump_row(row: Row) -> str:
    """Render one row as it is written to a file: compact, UTF-8, keys in the order of the row."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def write_rows(stream: IO[str], rows: Iterable[Row]) -> int:
    """Write rows to an open text stream and return their number."""
    count = 0
    for row in rows:
        stream.write(dump_row(row) + "\n")
        count += 1
    return count


def write_jsonl(path: Path, rows: Iterable[Row]) -> int:
    """Write rows to a file and return their number; see `finetrail.rows.artifacts` for atomic writing."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        return write_rows(stream, rows)


def canonical_json(value: object) -> str:
    """Render a value as JSON that is the same for equal values: sorted keys, no white space.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_text(text: str) -> str:
    """Return the hexadecimal SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def content_id(prefix: str, *parts: str) -> str:
    """Derive an id from content: ``prefix-`` and 16 hexadecimal digits of the parts' SHA-256."""
    return f"{prefix}-{sha256_text(canonical_json(parts))[:16]}"


def derive_seed(*parts: object) -> int:
    """Derive a seed of 31 bits from whatever names a row or a step."""
    return int(sha256_text(canonical_json([str(part) for part in parts]))[:8], 16) & 0x7FFFFFFF


def unit_interval(*parts: object) -> float:
    """Map whatever names a row to a number in [0, 1), the same on every machine."""
    return int(sha256_text(canonical_json([str(part) for part in parts]))[:13], 16) / 16**13


def round_score(score: float, digits: int = 6) -> float:
    """Round a score before it is sorted or written, so that another CPU's arithmetic changes nothing.

    Raises:
        ValueError: the score is NaN or infinite.
    """
    if not math.isfinite(score):
        raise ValueError(f"a score must be finite, found {score}")
    return round(float(score), digits) + 0.0
