"""Reader for chunks of documents, and for existing questions and answers that go along with them.

A chunk has no question and no answer: these are made of it. A file of questions and answers is JSON (a list), JSON
Lines or CSV with the fields ``question`` and ``answer``; ``context`` (a text) and ``document`` (the name of a document
that the pair stays in one split with) are taken too. ``instruction`` or ``prompt``, and ``output`` or ``response``, are
other names of the two.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from finetrail.documents.decode import decode
from finetrail.errors import FinetrailError
from finetrail.rows.problems import Problems, lines
from finetrail.rows.records import Line, Row, content_id, read_jsonl
from ingest.readers.rows import HINT, Single, good_records, text_of

CHUNKS = "chunks.jsonl"
QUESTION = ("question", "instruction", "prompt")
ANSWER = ("answer", "output", "response")
OWN = frozenset({*QUESTION, *ANSWER, "context", "document"})


def read_records(files: Sequence[Path], *, images_root: Path | None) -> Iterator[Row]:
    """Stream one record a chunk of `chunks.jsonl`, and one a pair of every other file.

    Raises:
        FinetrailError: after the last row, if any row or file is bad; it lists them all (20 in full).
    """
    problems = Problems("records")
    make = partial(pair_record, single=Single())
    for path in files:
        if path.name == CHUNKS:
            yield from (chunk_record(line.row, path, line.number) for line in read_jsonl(path))
            continue
        yield from good_records(_pairs(path, problems), path, problems, make)
    problems.raise_any(HINT)


def chunk_record(chunk: Row, path: Path, line: int) -> Row:
    """Make the record of a chunk; those of one document, or of documents with the same text, belong together.

    Raises:
        FinetrailError: it is no chunk: a file of pairs has the name of the file of chunks.
    """
    if "document_text" not in chunk:
        hint = f"Give a file of questions another name than {CHUNKS}"
        raise FinetrailError("no chunk of a document", where=f"{path}:{line}", hint=hint)
    return {
        "id": chunk["id"],
        "group_keys": {"document": chunk["file"], "text": chunk["document_text"]},
        "session_id": chunk["document"],
        "turn": chunk["number"],
        "question": "",
        "answer": "",
        "image": None,
        "history": [],
        "chunk": {key: chunk[key] for key in ("document", "file", "title", "headings", "page", "start", "end", "text")},
        "origin": {"file": path.name, "line": line},
        "extra": {},
    }


def pair_record(line: Line, path: Path, single: Single) -> Row:
    """Make the record of an existing pair.

    Raises:
        RowError: it has no question or no answer.
    """
    row = line.row
    question, answer = _first(row, QUESTION), _first(row, ANSWER)
    document = text_of(row, "document") if row.get("document") else None
    context = text_of(row, "context") if row.get("context") else ""
    extra = {name: value for name, value in row.items() if name not in OWN and name is not None}
    record = single.record(question, answer, template=None, path=path, line=line.number, extra=extra)
    keys = {"document": document or content_id("pair", question), "text": None}
    return record | {"group_keys": keys, "pair": {"context": context, "document": document}}


def _first(row: Row, names: Sequence[str]) -> str:
    return text_of(row, next((name for name in names if row.get(name)), names[0])).strip()


def _pairs(path: Path, problems: Problems) -> Iterator[Line]:
    """Read a file of pairs by its ending; lines are counted from 1, elements of a JSON list too."""
    ending = path.suffix.lower()
    if ending == ".jsonl":
        yield from lines(path, problems)
        return
    try:
        text = decode(path.read_bytes()).text
    except OSError as error:
        problems.add(str(path), f"cannot be read: {error.strerror}")
        return
    try:
        rows = _listed(text) if ending == ".json" else _table(text, path)
    except (ValueError, RecursionError, csv.Error) as error:
        problems.add(str(path), f"cannot be read: {error}")
        return
    if not rows:
        problems.add(str(path), "the file is empty")
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            yield Line(number, row)
        else:
            problems.add(f"{path}:{number}", "no object")


def _listed(text: str) -> list[object]:
    content = json.loads(text)
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list):
        raise ValueError("expected a list of objects, or an object with one list")
    return content


def _table(text: str, path: Path) -> list[object]:
    if path.suffix.lower() != ".csv":
        raise FinetrailError("is neither JSON, JSON Lines nor CSV", where=str(path), hint="Name it by what it is")
    return list(csv.DictReader(io.StringIO(text, newline="")))
