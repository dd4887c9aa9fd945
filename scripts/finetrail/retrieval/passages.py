"""Read a corpus of passages from JSON Lines."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrail.problems import Problems, lines
from finetrail.records import Line, Row

HINT = 'A passage is {"_id" or "id", "text"} with optional "title" and "url"; each id occurs once'


def read_passages(files: Sequence[Path], dropped: list[Row]) -> Iterator[Row]:
    """Stream passages ``{"id", "title", "text", "url"}``, with HTML entities decoded in title and text.

    Passages without any text are appended to `dropped` as ``{"id", "reason", "file", "line"}``.

    Raises:
        FinetrailError: after the last row, if any row is bad or an id occurs twice; it lists them all.
    """
    problems = Problems("passages")
    places: dict[str, str] = {}
    for path in files:
        for line in lines(path, problems):
            where = f"{path}:{line.number}"
            passage = _passage(line, where, problems)
            if passage is None:
                continue
            first = places.setdefault(passage["id"], where)
            if first != where:
                problems.add(where, f"duplicate id {passage['id']!r}, first seen at {first}")
            elif not passage["text"].strip():
                place = {"file": path.name, "line": line.number}
                dropped.append({"id": passage["id"], "reason": "no text", **place})
            else:
                yield passage
    problems.raise_any(HINT)


def _passage(line: Line, where: str, problems: Problems) -> Row | None:
    row = line.row
    passage_id = row.get("_id", row.get("id"))
    if not isinstance(passage_id, str) or not passage_id:
        problems.add(where, "the passage has no id")
        return None
    fields: Row = {"title": row.get("title") or "", "text": row.get("text"), "url": row.get("url") or ""}
    wrong = [name for name, value in fields.items() if not isinstance(value, str)]
    if wrong:
        problems.add(f"{where} ({passage_id})", f"{', '.join(wrong)}: expected a text")
        return None
    return {
        "id": passage_id,
        "title": html.unescape(fields["title"]),
        "text": html.unescape(fields["text"]),
        "url": fields["url"],
    }
