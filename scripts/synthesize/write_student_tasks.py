"""Lay out what teaches a student to search for itself: its search queries, and its choice among the ranked chunks.

Made of the labelled train records: the queries that the recipe's model wrote for them, and the chunks that were
labelled relevant, by their numbers. A record whose question was its own query teaches no query.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from finetrail.chat.conversations import Conversations
from finetrail.chat.student_tasks import CHOICE, QUERY, choice_text, queries_text
from finetrail.rows.records import Row, content_id, read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("synthesize.turns", "student")

CARRIED = ("session_id", "turn", "question", "history", "image")
BY_MODEL = "model"
OTHER_KIND = "the recipe takes no sessions of this kind (synthesize.turns)"


def task_row(record: Row, task: str, target: str, chunks: Sequence[Row], calls: Sequence[str]) -> Row:
    """Make the example of a task."""
    return {
        "id": content_id("example", record["id"], task),
        "parents": [record["id"]],
        "record_id": record["id"],
        "kind": task,
        "answer": target,
        "calls": list(calls),
        "chunks": list(chunks),
        **{name: record[name] for name in CARRIED},
    }


def tasks_of(record: Row, student: dict[str, Any]) -> Iterator[Row]:
    """Yield what a labelled record teaches."""
    written = [query["text"] for query in record["queries"] if query["origin"] == BY_MODEL]
    if written:
        yield task_row(record, QUERY, queries_text(written), [], record["calls"])
    if student["choice"] == BY_MODEL and record["chunks"]:
        labels = record["labels"]
        numbers = [number for number, label in enumerate(labels, start=1) if label["relevant"]]
        calls = [label["call"] for label in labels if "call" in label]
        yield task_row(record, CHOICE, choice_text(numbers), record["chunks"], calls)


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the examples."""
    conversations = Conversations(read_rows(args.originals))
    out = step.writer(args.out)
    kinds: Counter[str] = Counter()
    unwanted = records = 0
    for record in step.rows(args.rows, "records"):
        records += 1
        if not conversations.takes(record, step.settings["synthesize"]["turns"]):
            unwanted += 1
            continue
        for row in tasks_of(record, step.settings["student"]):
            kinds[row["kind"]] += 1
            out.write(row | {"turns": conversations.turns(record)})
    step.facts["examples"] = dict(sorted(kinds.items()))
    step.count(rows_in=records, kept=records - unwanted, dropped={OTHER_KIND: unwanted} if unwanted else {})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "relevant.jsonl")
    add_input(parser, "--originals", "records.jsonl")
    add_output(parser, "--out", "student_tasks.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
