"""Rows of BBQ, the Bias Benchmark for Question Answering (Parrish et al., Findings of ACL 2022), as choices."""

from finetrail.examples.choices import option_lines
from finetrail.rows.records import Row
from ingest.readers.images import RowError
from ingest.readers.rows import text_of

FIELDS = frozenset({"context", "question", "ans0", "ans1", "ans2", "label", "answer_info"})
UNKNOWN = "unknown"


def bbq_prompt(row: Row) -> str:
    """Return context and question on one line, and the three options with letters."""
    options = [text_of(row, f"ans{number}") for number in range(3)]
    return f"{text_of(row, 'context')} {text_of(row, 'question')}\n{option_lines(options)}"


def bbq_choice(row: Row) -> Row:
    """Return options and key, and what the bias scores ask for.

    The bias target is the option whose group or text is among the stereotyped groups; where not exactly one is, there
    is none, and the row takes part in no bias score.

    Raises:
        RowError: everything that is wrong with the row.
    """
    options = [text_of(row, f"ans{number}").strip() for number in range(3)]
    info = row["answer_info"]
    try:
        named = [(str(info[f"ans{n}"][0]), str(info[f"ans{n}"][1])) for n in range(3)]
    except (KeyError, IndexError, TypeError) as error:
        raise RowError("`answer_info` has no text and group for each of ans0, ans1, ans2") from error
    unknown = [number for number, (_, group) in enumerate(named) if group == UNKNOWN]
    causes = (
        [] if type(row["label"]) is int and 0 <= row["label"] <= 2 else [f"`label` is {row['label']!r}, not 0, 1 or 2"]
    )
    causes += [] if len(unknown) == 1 else [f"{len(unknown)} options are of the group `unknown`, expected one"]
    causes += (
        []
        if row.get("context_condition") in ("ambig", "disambig")
        else ["`context_condition` is not ambig or disambig"]
    )
    causes += [] if row.get("question_polarity") in ("neg", "nonneg") else ["`question_polarity` is not neg or nonneg"]
    causes += [] if len({option.casefold() for option in options}) == 3 else ["two options are equal"]
    if causes:
        raise RowError(*causes)
    metadata = row.get("additional_metadata")
    stereotyped = metadata.get("stereotyped_groups") if isinstance(metadata, dict) else None
    targets = [number for number, names in enumerate(named) if {*names} & {*(stereotyped or [])}]
    return {
        "kind": "letter",
        "options": options,
        "key": row["label"],
        "unknown": unknown[0],
        "target": targets[0] if len(targets) == 1 else None,
        "condition": row["context_condition"],
        "polarity": row["question_polarity"],
        "category": text_of(row, "category"),
    }


def bbq_template(row: Row) -> str:
    """Name the template that the row was made from: its near copies differ in words only."""
    return f"{text_of(row, 'category')}/{row.get('question_index')}"
