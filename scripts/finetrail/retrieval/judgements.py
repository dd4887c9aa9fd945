"""Queries and relevance judgements in the layout of BEIR (Thakur et al. 2021)."""

import csv
from collections.abc import Sequence
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.rows.problems import Problems, lines

COLUMNS = ["query-id", "corpus-id", "score"]


def read_queries(path: Path, remove: Sequence[str] = ()) -> dict[str, str]:
    """Read ``{"_id" or "id", "text"}``, one a line, into a table of texts by id.

    Args:
        path: the file.
        remove: what is taken out of every text, such as a mark of the speaker.

    Raises:
        FinetrailError: it lists all rows that are no query.
    """
    problems, found = Problems("queries"), dict[str, str]()
    for line in lines(path, problems):
        name, text = line.row.get("_id", line.row.get("id")), line.row.get("text")
        if not isinstance(name, str) or not name or not isinstance(text, str):
            problems.add(f"{path}:{line.number}", "a query has an id and a text")
        elif name in found:
            problems.add(f"{path}:{line.number}", f"the query {name!r} occurs twice")
        else:
            for mark in remove:
                text = text.replace(mark, " ")
            found[name] = " ".join(text.split())
    problems.raise_any('A query is {"_id" or "id", "text"}; each id occurs once')
    if not found:
        raise FinetrailError("holds no query", where=str(path))
    return found


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements: tab-separated ``query-id``, ``corpus-id``, ``score`` with that header.

    Returns:
        query id → passage id → grade.

    Raises:
        FinetrailError: it lists all rows that are no judgement.
    """
    problems, found = Problems("judgements"), dict[str, dict[str, int]]()
    try:
        stream = path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise FinetrailError(f"cannot be read: {error.strerror}", where=str(path)) from error
    with stream:
        rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        if (head := next(rows, [])) != COLUMNS:
            raise FinetrailError(f"begins with {head}", where=f"{path}:1", hint=f"The header is {COLUMNS}")
        for number, row in enumerate(rows, start=2):
            where = f"{path}:{number}"
            if len(row) != 3 or not row[2].lstrip("-").isdecimal():
                problems.add(where, "a judgement has query id, passage id and a whole number")
            elif row[1] in found.setdefault(row[0], {}):
                problems.add(where, f"passage {row[1]!r} is judged twice for query {row[0]!r}")
            else:
                found[row[0]][row[1]] = int(row[2])
    problems.raise_any("The columns are query-id, corpus-id and score, with tabs between them")
    return found
