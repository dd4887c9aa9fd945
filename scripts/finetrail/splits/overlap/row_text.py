"""What of a row is compared with other rows."""

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row

FIELDS = ("text", "question", "answer")


def row_text(row: Row) -> str:
    """Return a row's own words: its text, its question and answer, or those of the chunk that it is.

    What it was shown as evidence is not its own.

    Raises:
        FinetrailError: it has none of them; without words, rows would be equal to one another.
    """
    found = [part[name] for part in (row, row.get("chunk") or {}) for name in FIELDS if part.get(name)]
    if not found:
        raise FinetrailError(f"the row has none of {', '.join(FIELDS)}", where=str(row.get("id")))
    return "\n".join(found)
