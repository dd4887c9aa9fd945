"""Lay out a fold: train examples from synthesis, and the original dev and test records, untouched.

Every row carries its chat messages and the evidence that they show; the last message is the target. Dev and test
rows show what the deployed system will have: the reranked chunks, whatever a judge would say of them.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from finetrail.artifacts import render_json
from finetrail.errors import FinetrailError
from finetrail.lookup import PassageFile
from finetrail.records import Row, read_rows, read_table
from finetrail.splits import prove_disjoint
from finetrail.step import RowWriter, Step, add_input, add_output, run_step, step_parser
from finetrail.text.prompts import chat_messages

SPAN = ("passage_id", "start", "end")


class Layout:
    """Turns a record or an example into a fold's row."""

    def __init__(self, settings: dict[str, Any], passages: PassageFile, groups: dict[str, str]) -> None:
        self._system: str = settings["system_prompt"]
        self._most: int = settings["evidence"]
        self._passages = passages
        self._groups = groups

    def row(self, source: Row, *, row_id: str, record_id: str, parents: list[str], kind: str) -> Row:
        """Lay out one row; `source` has question, history, image, chunks and answer."""
        chunks = source["chunks"][: self._most]
        evidence = [self._passages.evidence(chunk) for chunk in chunks]
        messages = chat_messages(self._system, source["history"], source["question"], evidence, source["answer"])
        return {
            "id": row_id,
            "parents": parents,
            "record_id": record_id,
            "group": self._groups[record_id],
            "session_id": source["session_id"],
            "turn": source["turn"],
            "kind": kind,
            "question": source["question"],
            "answer": source["answer"],
            "image": source["image"],
            "history": source["history"],
            "evidence": evidence,
            "passages": [{key: chunk[key] for key in SPAN} for chunk in chunks],
            "messages": messages,
        }


class Tally:
    """Counts what a file of the fold holds."""

    def __init__(self, writer: RowWriter) -> None:
        self.writer = writer
        self.kinds: Counter[str] = Counter()
        self.groups: set[str] = set()
        self.records: set[str] = set()
        self.words = 0

    def write(self, row: Row) -> None:
        """Write a row and count it."""
        self.writer.write(row)
        self.kinds[row["kind"]] += 1
        self.groups.add(row["group"])
        self.records.add(row["record_id"])
        self.words += len(row["answer"].split())

    def report(self) -> Row:
        """Return the counts."""
        return {
            "rows": self.writer.count,
            "records": len(self.records),
            "groups": len(self.groups),
            "kinds": dict(sorted(self.kinds.items())),
            "mean_answer_words": round(self.words / max(1, self.writer.count), 2),
        }


def write_train(rows: Iterable[Row], layout: Layout, tally: Tally, splits: dict[str, Row]) -> None:
    """Write the train examples.

    Raises:
        FinetrailError: an example comes from a record that is not in train.
    """
    for row in rows:
        if splits[row["record_id"]]["split"] != "train":
            raise FinetrailError("an example of a dev or test record cannot be trained on", where=row["id"])
        tally.write(
            layout.row(row, row_id=row["id"], record_id=row["record_id"], parents=row["parents"], kind=row["kind"])
        )


def write_held_out(rows: Iterable[Row], layout: Layout, tallies: dict[str, Tally], splits: dict[str, Row]) -> None:
    """Write the dev and test records, every one of them."""
    for row in rows:
        split = splits[row["id"]]["split"]
        if split in tallies:
            tallies[split].write(
                layout.row(row, row_id=row["id"], record_id=row["id"], parents=[row["id"]], kind="original")
            )


def rows_due(args: argparse.Namespace, splits: dict[str, Row]) -> int:
    """Count what belongs into the fold, by the inputs and not by what was written."""
    examples = sum(1 for _ in read_rows(args.rows))
    return examples + sum(1 for row in splits.values() if row["split"] != "train")


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the three files and the report."""
    splits = read_table(args.splits)
    groups = {name: row["group"] for name, row in splits.items()}
    train, dev, test = (Tally(step.writer(path)) for path in (args.train, args.eval, args.test))
    with PassageFile(args.passages) as passages:
        layout = Layout(step.settings["folds"], passages, groups)
        write_train(step.rows(args.rows, "examples"), layout, train, splits)
        write_held_out(step.rows(args.reranked, "records"), layout, {"dev": dev, "test": test}, splits)
    if overlap := (train.groups & (dev.groups | test.groups)) | (dev.groups & test.groups):
        raise FinetrailError(f"{len(overlap)} groups straddle train, dev and test", where=min(overlap))
    report = {
        "train": train.report(),
        "eval": dev.report(),
        "test": test.report(),
        "proof": prove_disjoint(read_rows(args.reranked), list(splits.values())),
    }
    step.file(args.report).write_text(render_json(report), encoding="utf-8")
    kept = train.writer.count + dev.writer.count + test.writer.count
    step.count(rows_in=rows_due(args, splits), kept=kept)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "synthetic.jsonl")
    add_input(parser, "--reranked", "reranked.jsonl, for the dev and test records")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    for name in ("train", "eval", "test"):
        add_output(parser, f"--{name}", f"{name}.jsonl")
    add_output(parser, "--report", "report.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
