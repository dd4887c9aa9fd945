"""Put generated and existing pairs together: those of train to be validated, those of dev and test as they are.

A generated pair whose quotation is not in its chunk is dropped, and listed with the reason.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from finetrail.lookup import RowFile
from finetrail.records import Row, read_rows, read_table
from finetrail.step import Step, add_input, add_output, run_step, step_parser

NO_SUPPORT = "its quotation is not in its chunk"
EMPTY = "no question or no answer"
REPEATED = "the same question about the same chunk"


def fault_of(row: Row, asked: set[tuple[str, str]]) -> str | None:
    """Say why a pair is of no use; None where it is."""
    question = (row["record_id"], " ".join(row["question"].casefold().split()))
    if not row["question"] or not row["answer"]:
        return EMPTY
    if row["kind"] == "generated" and row["support"] is None:
        return NO_SUPPORT
    if question in asked:
        return REPEATED
    asked.add(question)
    return None


def generated(row: Row, record: Row) -> Row:
    """Make a row of a generated pair; `support` is a span of the chunk, `support_text` what stands there."""
    text = record["chunk"]["text"]
    return {
        **{key: row[key] for key in ("id", "parents", "record_id")},
        "kind": "generated",
        **{key: row[key] for key in ("question", "answer", "style", "support")},
        "support_text": text[slice(*row["support"])] if row["support"] else None,
        "context": text,
        "file": record["chunk"]["file"],
        **carried(record),
        "calls": row["calls"],
    }


def existing(record: Row) -> Row:
    """Make a row of a pair that was there before."""
    return {
        "id": record["id"],
        "parents": [record["id"]],
        "record_id": record["id"],
        "kind": "existing",
        **{key: record[key] for key in ("question", "answer")},
        "style": None,
        "support": None,
        "support_text": None,
        "context": record["pair"]["context"],
        "file": record["pair"]["document"],
        **carried(record),
        "calls": [],
    }


def carried(record: Row) -> Row:
    """Return what every later row says of its record."""
    return {key: record[key] for key in ("session_id", "turn", "history", "image")}


def all_pairs(step: Step, args: argparse.Namespace) -> Iterator[Row]:
    """Stream the generated pairs, then the existing ones."""
    with RowFile(args.records) as records:
        yield from (generated(row, records[row["record_id"]]) for row in step.rows(args.rows, "pairs"))
    yield from (existing(record) for record in read_rows(args.records) if "pair" in record)


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the pairs of train, those of dev and test, and what was dropped."""
    splits = {name: row["split"] for name, row in read_table(args.splits).items()}
    train, held_out = step.writer(args.out), step.writer(args.held_out)
    dropped = step.writer(args.dropped, may_be_empty=True)
    reasons: Counter[str] = Counter()
    asked: set[tuple[str, str]] = set()
    total = 0
    for row in all_pairs(step, args):
        total += 1
        if fault := fault_of(row, asked):
            reasons[fault] += 1
            dropped.write({"id": row["id"], "record_id": row["record_id"], "kind": "pair", "reason": fault})
        else:
            (train if splits[row["record_id"]] == "train" else held_out).write(row)
    step.count(rows_in=total, kept=train.count + held_out.count, dropped=reasons)
    step.facts["pairs"] = {"train": train.count, "dev and test": held_out.count}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "qa.jsonl")
    add_input(parser, "--records", "records.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "training_data.jsonl")
    add_output(parser, "--held-out", "questions.jsonl: those of dev and test")
    add_output(parser, "--dropped", "training_data.dropped.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
