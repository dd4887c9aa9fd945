"""Reader for HotpotQA: questions whose answer needs several pages, with the sentences that support it.

The official files are read as they are, JSON lists, distractor and fullwiki; the same rows as JSON Lines too. Only the
question and what is gold become the record: the pages of `context` are passages, which `source.corpus` names.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetrail.metrics.hop_score import are_facts
from finetrail.retrieval.pages import page_id
from finetrail.retrieval.passages import are_pages
from finetrail.rows.json_array import Entry, read_objects
from finetrail.rows.problems import Problems
from finetrail.rows.records import Row, content_id, sha256_text
from ingest.readers.images import RowError
from ingest.readers.rows import text_of

HINT = "Mend or remove these rows; nothing was written"
FIELDS = frozenset({"_id", "question", "answer", "supporting_facts", "context", "type", "level"})


def read_records(files: Sequence[Path], *, images_root: Path | None) -> Iterator[Row]:
    """Stream one record a question.

    Raises:
        FinetrailError: after the last row, if any row or file is bad; it lists them all (20 in full).
    """
    problems = Problems("records")
    places: dict[str, str] = {}
    for path in files:
        for line in read_objects(path, problems):
            where = line.where
            try:
                record = question_record(line, path)
            except RowError as error:
                for cause in error.causes:
                    problems.add(where, cause)
                continue
            if first := places.get(record["session_id"]):
                problems.add(where, f"duplicate _id {record['session_id']!r}, first seen at {first}")
            else:
                places[record["session_id"]] = where
                yield record
    problems.raise_any(HINT)


def question_record(line: Entry, path: Path) -> Row:
    """Make the record of a question.

    Raises:
        RowError: everything that is wrong with the row.
    """
    row = line.row
    causes: list[str] = []
    values: dict[str, Any] = {}
    for name in ("_id", "question", "answer", "type", "level"):
        try:
            values[name] = text_of(row, name)
        except RowError as error:
            causes += error.causes
    if not are_facts(row.get("supporting_facts")) or not row["supporting_facts"]:
        causes.append("`supporting_facts` is no list of [title, sentence number] (the official test set has none)")
    if not are_pages(row.get("context")):
        causes.append("`context` is no list of [title, [sentence, ...]]")
    if causes:
        raise RowError(*causes)
    question = values["question"].strip()
    return {
        "id": content_id("rec", values["_id"], question, values["answer"]),
        "group_keys": {"session": values["_id"], "image": None, "question": sha256_text(question)[:16]},
        "session_id": values["_id"],
        "turn": 0,
        "question": question,
        "answer": values["answer"].strip(),
        "image": None,
        "history": [],
        "hops": {
            "type": values["type"],
            "level": values["level"],
            "supporting_facts": row["supporting_facts"],
            "context": [page_id(title, sentences) for title, sentences in row["context"]],
        },
        "origin": {"file": path.name, "line": line.number, "question_id": values["_id"]},
        "extra": {name: value for name, value in row.items() if name not in FIELDS},
    }
