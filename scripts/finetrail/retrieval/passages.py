"""Read a corpus of passages from JSON Lines, or from rows that hold pages of sentences."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetrail.retrieval.pages import page_passages
from finetrail.rows.json_array import Entry, read_objects
from finetrail.rows.problems import Problems
from finetrail.rows.records import Row

HINT = 'A passage is {"_id" or "id", "text"} with optional "title" and "url"; each id occurs once'
LONGEST = 250


def read_passages(files: Sequence[Path], dropped: list[Row], *, longest: int = LONGEST) -> Iterator[Row]:
    """Stream passages ``{"id", "title", "text", "url"}``, with HTML entities decoded in title and text.

    A row with ``context`` (``[[title, [sentence, ...]], ...]``), or whose ``text`` is a list of sentences, gives the
    passages of its pages (`finetrail.retrieval.pages`), each page once however many rows hold it.

    Passages without any text are appended to `dropped` as ``{"id", "reason", "file", "line"}``.

    Args:
        files: JSON Lines, or JSON lists.
        dropped: see above.
        longest: tokens of the longest passage that a page is cut into.

    Raises:
        FinetrailError: after the last row, if any row is bad or an id occurs twice; it lists them all.
    """
    problems = Problems("passages")
    places: dict[str, str] = {}
    for path in files:
        for line in read_objects(path, problems):
            where = line.where
            for passage in _passages(line, longest, problems):
                if passage["id"] in places:
                    if "page" not in passage:
                        first = places[passage["id"]]
                        problems.add(where, f"duplicate id {passage['id']!r}, first seen at {first}")
                    continue
                places[passage["id"]] = where
                if not passage["text"].strip():
                    place = {"file": path.name, "line": line.number}
                    dropped.append({"id": passage["id"], "reason": "no text", **place})
                else:
                    yield passage
    problems.raise_any(HINT)


def are_pages(value: Any) -> bool:
    """Say whether a value is a list of pages, ``[title, [sentence, ...]]``."""
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(page, list) and len(page) == 2 and isinstance(page[0], str) and are_sentences(page[1])
        for page in value
    )


def are_sentences(value: Any) -> bool:
    """Say whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(sentence, str) for sentence in value)


def _passages(line: Entry, longest: int, problems: Problems) -> Iterator[Row]:
    row, where = line.row, line.where
    pages = row.get("context") if "context" in row else None
    if are_sentences(row.get("text")):
        pages = [[row.get("title"), row["text"]]]
    if pages is not None:
        if not are_pages(pages):
            problems.add(where, "the pages are no list of [title, [sentence, ...]]")
            return
        for title, sentences in pages:
            yield from page_passages(title, sentences, longest)
        return
    passage = _passage(line, problems)
    if passage is not None:
        yield passage


def _passage(line: Entry, problems: Problems) -> Row | None:
    row, where = line.row, line.where
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
