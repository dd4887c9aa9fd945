"""Reader for multiple-choice prompts: own ones, one a line, and rows of BBQ, recognised row by row.

An own row is ``{"prompt", "chosen"}``: ``chosen`` is the letter of an option (the prompt's last lines are then
``A: …``, ``B: …``), one of entailment, neutral and contradiction, or one of [[A]], [[B]] and [[C]]. It may have
``template`` (rows with an equal one are never divided) and ``meta`` with ``condition``, ``polarity``, ``category`` and
``unknown_option``.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from finetrail.examples.choices import FIXED, LETTERS, answer_text, split_prompt
from finetrail.rows.problems import Problems, lines
from finetrail.rows.records import Line, Row
from ingest.readers.bbq import FIELDS, bbq_choice, bbq_prompt, bbq_template
from ingest.readers.images import RowError
from ingest.readers.rows import HINT, Single, good_records, text_of

OWN_FIELDS = frozenset({"prompt", "chosen", "template", "meta"})


def read_records(files: Sequence[Path], *, images_root: Path | None) -> Iterator[Row]:
    """Stream one record a prompt.

    Raises:
        FinetrailError: after the last row, if any row or file is bad; it lists them all (20 in full).
    """
    problems = Problems("records")
    make = partial(_record, single=Single())
    for path in files:
        yield from good_records(lines(path, problems), path, problems, make)
    problems.raise_any(HINT)


def _record(line: Line, path: Path, *, single: Single) -> Row:
    prompt, choice, template, extra = _bbq(line.row) if line.row.keys() >= FIELDS else _own(line.row)
    answer = f"Answer: {answer_text(choice, choice['key'])}"
    record = single.record(prompt, answer, template=template, path=path, line=line.number, extra=extra)
    return record | {"choice": choice}


def _bbq(row: Row) -> tuple[str, Row, str | None, Row]:
    choice = bbq_choice(row)
    extra = {name: value for name, value in row.items() if name not in FIELDS}
    return bbq_prompt(row), choice, bbq_template(row), extra


def _own(row: Row) -> tuple[str, Row, str | None, Row]:
    if not row.keys() & {"prompt", "chosen"}:
        found = ", ".join(sorted(row)[:8]) or "none"
        raise RowError(f"neither `prompt` and `chosen` nor BBQ's fields are there (fields: {found})")
    prompt, chosen = text_of(row, "prompt"), text_of(row, "chosen").strip()
    template = row.get("template")
    if template is not None and not isinstance(template, str):
        raise RowError("`template` is no text")
    extra = {name: value for name, value in row.items() if name not in OWN_FIELDS}
    return prompt, own_choice(prompt, chosen, row.get("meta") or {}), template, extra


def own_choice(prompt: str, chosen: str, meta: object) -> Row:
    """Return kind, options and key of an own prompt.

    Raises:
        RowError: what was chosen is no option of any kind, or `meta` is of no use.
    """
    if not isinstance(meta, dict):
        raise RowError("`meta` is no object")
    kind = next((name for name, answers in FIXED.items() if chosen in answers), "letter")
    options = list(FIXED.get(kind, ())) or split_prompt(prompt)[1]
    if kind == "letter":
        if not options:
            raise RowError("the prompt's last lines are no lettered options (`A: …`, `B: …`)")
        if len({option.casefold() for option in options}) < len(options):
            raise RowError("two options are equal")
        if len(chosen) != 1 or chosen not in LETTERS[: len(options)]:
            raise RowError(f"`chosen` is {chosen!r}, none of {', '.join(LETTERS[: len(options)])}")
    unknown = meta.get("unknown_option")
    if unknown is not None and (not isinstance(unknown, str) or unknown not in LETTERS[: len(options)] or not unknown):
        raise RowError(f"`meta.unknown_option` is {unknown!r}, no letter of an option")
    return {
        "kind": kind,
        "options": options,
        "key": LETTERS.index(chosen) if kind == "letter" else options.index(chosen),
        "unknown": None if unknown is None else LETTERS.index(unknown),
        "target": None,
        "condition": meta.get("condition"),
        "polarity": meta.get("polarity"),
        "category": meta.get("category"),
    }
