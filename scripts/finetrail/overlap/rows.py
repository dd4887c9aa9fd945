"""What of a row is compared with other rows."""

from finetrail.errors import FinetrailError
from finetrail.records import Row

FIELDS = ("text", "question", "answer")


def row_text(row: Row) -> str:
    """Return a row's own words: its text, or its question and answer; what it was shown as evidence is not its own.

    Raises:
        FinetrailError: it has none of them.
    """
    found = [row[name] for name in FIELDS if isinstance(row.get(name), str)]
    if not found:
        raise FinetrailError(f"the row has none of {', '.join(FIELDS)}", where=str(row.get("id")))
    return "\n".join(found)
