"""Tables of questions and answers: CSV with commas, semicolons or tabs, columns found by their names."""

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrail.rows.problems import Problems
from finetrail.rows.records import Line, Row

LOGGER = logging.getLogger(__name__)
DELIMITERS = ",;\t|"
LONGEST_FIELD = 1 << 24  # characters; the library's own bound is 131,072


def table_rows(
    text: str, path: Path, problems: Problems, wanted: Sequence[Sequence[str]], known: set[str]
) -> Iterator[Line]:
    """Yield the rows of a table, counted from 1, with the columns that are known under their own names.

    A column is known by its name whatever its capitals, spaces and hyphens. The sign that divides columns is the one
    that gives the header the columns that are wanted.

    Args:
        text: the file.
        path: what messages call it.
        problems: takes a row that has more cells than the header, and a header without what is wanted.
        wanted: other names of each column that must be there.
        known: names of all columns that a reader takes; others keep their names, and the log lists them.
    """
    csv.field_size_limit(LONGEST_FIELD)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        problems.add(str(path), "the file is empty")
        return
    try:
        headers = {sign: next(csv.reader([first], delimiter=sign)) for sign in DELIMITERS}
        sign = max(
            DELIMITERS, key=lambda one: (_found(headers[one], wanted), len(headers[one]), -DELIMITERS.index(one))
        )
        if _found(headers[sign], wanted) < len(wanted):
            names = " and ".join(f"`{names[0]}`" for names in wanted)
            shown = ", ".join(headers[sign][:12])
            problems.add(f"{path}:1", f"the first line names no column {names} (columns: {shown})")
            return
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=sign)
        columns = [_own_name(name, known) for name in next(row for row in rows if any(cell.strip() for cell in row))]
        yield from _named(rows, columns, path, problems)
    except csv.Error as error:
        problems.add(str(path), f"cannot be read: {error}")
        return
    if others := [name for name in columns if name not in known]:
        LOGGER.warning("%s: columns that are only kept (`extra`): %s", path, ", ".join(others))


def _named(rows: Iterator[list[str]], columns: list[str], path: Path, problems: Problems) -> Iterator[Line]:
    number = 0
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        number += 1
        if len(cells) > len(columns):
            said = (
                f"{len(cells)} cells, but the first line has {len(columns)}: put a text with the sign between in quotes"
            )
            problems.add(f"{path}:{number}", said)
            continue
        row: Row = dict(zip(columns, cells, strict=False))
        yield Line(number, row)
    if not number:
        problems.add(str(path), "there is no row below the first line")


def _found(header: Sequence[str], wanted: Sequence[Sequence[str]]) -> int:
    names = {_plain(name) for name in header}
    return sum(any(name in names for name in column) for column in wanted)


def _plain(name: str) -> str:
    return "_".join(name.strip().casefold().replace("-", " ").replace("_", " ").split())


def _own_name(name: str, known: set[str]) -> str:
    return _plain(name) if _plain(name) in known else name.strip()
