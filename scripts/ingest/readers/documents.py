"""Reader for chunks of documents, and for existing questions and answers that go along with them.

A chunk has no question and no answer: these are made of it. A file of questions and answers is JSON (a list), JSON
Lines or a table (CSV with commas, semicolons or tabs) with the fields ``question`` and ``answer``; ``context`` (a text)
and ``document`` (the name of a document that the pair stays in one split with) are taken too. ``instruction`` or
``prompt``, and ``output`` or ``response``, are other names of the two. ``input``, as Alpaca has it, joins the question.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from finetrail.documents.decode import decode
from finetrail.errors import FinetrailError
from finetrail.rows.json_array import listed_objects
from finetrail.rows.problems import Problems, lines
from finetrail.rows.records import Line, Row, content_id, read_jsonl
from ingest.readers.rows import HINT, Single, good_records, text_of
from ingest.readers.tables import table_rows

CHUNKS = "chunks.jsonl"
QUESTION = ("question", "instruction", "prompt")
ANSWER = ("answer", "output", "response")
OWN = frozenset({*QUESTION, *ANSWER, "input", "context", "document"})
TABLES = (".csv", ".tsv")


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
    question, answer = _question(row), _first(row, ANSWER)
    document = text_of(row, "document") if row.get("document") else None
    context = text_of(row, "context") if row.get("context") else ""
    extra = {name: value for name, value in row.items() if name not in OWN}
    record = single.record(question, answer, template=None, path=path, line=line.number, extra=extra)
    keys = {"document": document or content_id("pair", question), "text": None}
    return record | {"group_keys": keys, "pair": {"context": context, "document": document}}


def _question(row: Row) -> str:
    """Return what is asked: of an Alpaca row the instruction, and what it is to be done with."""
    if not row.get("input"):
        return _first(row, QUESTION)
    given = text_of(row, "input").strip()
    return f"{_first(row, QUESTION)}\n\n{given}" if any(row.get(name) for name in QUESTION) else given


def _first(row: Row, names: Sequence[str]) -> str:
    return text_of(row, next((name for name in names if row.get(name)), names[0])).strip()


def _pairs(path: Path, problems: Problems) -> Iterator[Line]:
    """Read a file of pairs by its ending; lines are counted from 1, entries of a JSON list and rows of a table too."""
    ending = path.suffix.lower()
    if ending == ".jsonl":
        yield from lines(path, problems)
        return
    if ending not in (".json", *TABLES):
        raise FinetrailError("is neither JSON, JSON Lines nor CSV", where=str(path), hint="Name it by what it is")
    try:
        text = decode(path.read_bytes()).text
    except OSError as error:
        problems.add(str(path), f"cannot be read: {error.strerror}")
        return
    if ending in TABLES:
        yield from table_rows(text, path, problems, (QUESTION, ANSWER), {*OWN})
        return
    try:
        listed = _list_within(text)
    except (ValueError, RecursionError) as error:
        problems.add(str(path), f"cannot be read: {error}")
        return
    for entry in listed_objects(iter([listed]), path, problems):
        yield Line(entry.number, entry.row)


def _list_within(text: str) -> str:
    """Return the text of a list, which may be the only list of an object (``{"data": [...]}``).

    Raises:
        ValueError: there is no such list.
    """
    begin = _solid(text, 0)
    if text[begin : begin + 1] in ("[", ""):
        return text
    decoder, place, lists = json.JSONDecoder(), begin, []
    while text[place : place + 1] == ("{" if place == begin else ","):
        _, place = decoder.raw_decode(text, _solid(text, place + 1))
        start = _solid(text, _solid(text, place) + 1)  # behind the colon
        value, end = decoder.raw_decode(text, start)
        place = _solid(text, end)
        if isinstance(value, list):
            lists.append(text[start:end])
    if len(lists) != 1:
        raise ValueError("expected a list of objects, or an object with one list")
    return lists[0]


def _solid(text: str, place: int) -> int:
    """Return the next place that holds no white space."""
    while text[place : place + 1].isspace():
        place += 1
    return place
