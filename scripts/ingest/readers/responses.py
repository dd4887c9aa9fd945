"""Reader for finished examples, ``{"prompt", "response"}`` a line: both stay as they are, to the last character."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from finetrail.examples.choices import Unreadable, read_prediction, split_prompt
from finetrail.rows.problems import Problems, lines
from finetrail.rows.records import Line, Row
from ingest.readers.rows import HINT, Single, good_records, text_of

FIELDS = frozenset({"prompt", "response", "template"})


def read_records(files: Sequence[Path], *, images_root: Path | None) -> Iterator[Row]:
    """Stream one record an example; where the response answers a multiple choice, the record has it.

    Raises:
        FinetrailError: after the last row, if any row or file is bad; it lists them all (20 in full).
    """
    problems = Problems("records")
    make = partial(_record, single=Single())
    for path in files:
        yield from good_records(lines(path, problems), path, problems, make)
    problems.raise_any(HINT)


def _record(line: Line, path: Path, *, single: Single) -> Row:
    prompt, response = text_of(line.row, "prompt"), text_of(line.row, "response")
    template = text_of(line.row, "template") if "template" in line.row else None
    extra = {name: value for name, value in line.row.items() if name not in FIELDS}
    record = single.record(prompt, response, template=template, path=path, line=line.number, extra=extra)
    choice = finished_choice(prompt, response)
    return record | ({"choice": choice} if choice else {})


def finished_choice(prompt: str, response: str) -> Row | None:
    """Return the options of a prompt, with the response's answer as their key; None where it has none."""
    choice = {"kind": "letter", "options": split_prompt(prompt)[1], "key": 0, "unknown": None, "target": None}
    choice |= {"condition": None, "polarity": None, "category": None}
    try:
        return choice | {"key": read_prediction(response, choice)} if choice["options"] else None
    except Unreadable:
        return None
