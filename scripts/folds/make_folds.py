"""Lay out a fold: train examples from synthesis, and the original dev and test records, untouched.

Every row carries its chat messages and the evidence that they show; the last message is the target. Dev and test
rows show what the deployed system will have: the reranked chunks, whatever a judge would say of them. With several
folds, train and dev are those of the fold's own records, and test is every original record of the others. Where nothing
was synthesized, the train records are the examples, as they are.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from finetrail.artifacts import render_json
from finetrail.errors import FinetrailError
from finetrail.lookup import PassageFile
from finetrail.records import Row, read_rows, read_table
from finetrail.splits import prove_disjoint
from finetrail.step import RowWriter, Step, add_input, add_output, run_step, step_parser
from finetrail.text.prompts import chat_messages, whole_messages

SPAN = ("passage_id", "start", "end")


class Layout:
    """Turns a record or an example into a fold's row."""

    def __init__(self, settings: dict[str, Any], passages: PassageFile | None, groups: dict[str, str]) -> None:
        self._whole: bool = settings["layout"] == "prompt"
        self._system: str = settings["system_prompt"]
        self._most: int = settings["evidence"]
        self._passages = passages
        self._groups = groups

    def row(self, source: Row, *, row_id: str, record_id: str, parents: list[str], kind: str) -> Row:
        """Lay out one row; `source` has question, history, image, answer and, behind recall, chunks."""
        chunks = source["chunks"][: self._most] if self._passages else []
        evidence = [self._passages.evidence(chunk) for chunk in chunks] if self._passages else []
        if self._whole:
            messages = whole_messages(self._system, source["history"], source["question"], source["answer"])
        else:
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
            **({"choice": source["choice"]} if "choice" in source else {}),
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


class Homes:
    """Where the records belong, as one fold sees it.

    Args:
        splits: id → row of splits.jsonl.
        fold: name of the fold.
    """

    def __init__(self, splits: dict[str, Row], fold: str) -> None:
        self._splits = splits
        self._fold = fold

    def split(self, record_id: str) -> str:
        """Return train, dev or test; the records of other folds are tests."""
        row = self._splits[record_id]
        return row["split"] if row.get("fold", self._fold) == self._fold else "test"

    def is_elsewhere(self, record_id: str) -> bool:
        """Say whether a record belongs to another fold."""
        return bool(self._splits[record_id].get("fold", self._fold) != self._fold)


def record_of(row: Row) -> str:
    """Return the record that an example was made from; a record that nothing was made from is its own example."""
    return str(row.get("record_id", row["id"]))


def examples_of(rows: Iterable[Row], homes: Homes) -> Iterator[Row]:
    """Yield the train examples of a fold.

    Raises:
        FinetrailError: a synthetic example comes from a record that is not in train.
    """
    for row in rows:
        record_id = record_of(row)
        if homes.split(record_id) == "train":
            yield row
        elif "record_id" in row and not homes.is_elsewhere(record_id):
            raise FinetrailError("an example of a dev or test record cannot be trained on", where=row["id"])


def write_train(rows: Iterable[Row], layout: Layout, tally: Tally, homes: Homes) -> None:
    """Write the train examples."""
    for row in examples_of(rows, homes):
        parents, kind = row.get("parents", [row["id"]]), row.get("kind", "original")
        tally.write(layout.row(row, row_id=row["id"], record_id=record_of(row), parents=parents, kind=kind))


def write_held_out(rows: Iterable[Row], layout: Layout, tallies: dict[str, Tally], homes: Homes) -> None:
    """Write the dev and test records, every one of them."""
    for row in rows:
        split = homes.split(row["id"])
        if split in tallies:
            tallies[split].write(
                layout.row(row, row_id=row["id"], record_id=row["id"], parents=[row["id"]], kind="original")
            )


def rows_due(args: argparse.Namespace, splits: dict[str, Row], homes: Homes) -> int:
    """Count what belongs into the fold, by the inputs and not by what was written."""
    examples = sum(1 for _ in examples_of(read_rows(args.rows), homes))
    return examples + sum(1 for record_id in splits if homes.split(record_id) != "train")


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the three files and the report."""
    splits = read_table(args.splits)
    homes = Homes(splits, args.fold)
    groups = {name: row["group"] for name, row in splits.items()}
    has_dev = any(homes.split(name) == "dev" for name in splits)
    train, test = (Tally(step.writer(path)) for path in (args.train, args.test))
    dev = Tally(step.writer(args.eval, may_be_empty=not has_dev))
    with ExitStack() as opened:
        passages = opened.enter_context(PassageFile(args.passages[0])) if args.passages else None
        layout = Layout(step.settings["folds"], passages, groups)
        write_train(step.rows(args.rows, "examples"), layout, train, homes)
        write_held_out(step.rows(args.records, "records"), layout, {"dev": dev, "test": test}, homes)
    shuffled = step.settings["splits"]["method"] == "shuffle"
    overlap = (train.groups & (dev.groups | test.groups)) | (dev.groups & test.groups)
    if overlap and not shuffled:
        raise FinetrailError(f"{len(overlap)} groups straddle train, dev and test", where=min(overlap))
    report = {
        "train": train.report(),
        "eval": dev.report(),
        "test": test.report(),
        "proof": prove_disjoint(read_rows(args.records), list(splits.values()), allowed=shuffled),
    }
    step.file(args.report).write_text(render_json(report), encoding="utf-8")
    kept = train.writer.count + dev.writer.count + test.writer.count
    step.count(rows_in=rows_due(args, splits, homes), kept=kept)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--fold", default="fold0", help="name of the fold")
    add_input(parser, "--rows", "synthetic.jsonl; or the records themselves")
    add_input(parser, "--records", "the records with what is shown of them, for dev and test")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(
        parser, "--passages", "passages.jsonl; none where nothing is searched", nargs="*", default=[], required=False
    )
    for name in ("train", "eval", "test"):
        add_output(parser, f"--{name}", f"{name}.jsonl")
    add_output(parser, "--report", "report.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
