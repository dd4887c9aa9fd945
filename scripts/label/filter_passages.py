"""Decide by the judges' labels which passages count as relevant, list the others, and report how far judges agree.

Where there are two judges, `label.decide` says whose yes counts. A record stays whatever is left of its passages: one
without any can become a refusal. Where a verdict that is needed is missing (its row was set aside), the record is
dropped, and listed.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from finetrail.metrics.agreement import agreement
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row
from finetrail.rows.row_file import RowFile
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("label.decide",)
ENVIRONMENT = "data"

NOT_RELEVANT = "judged not relevant"
DISAGREED = "the judges disagree"
NO_SECOND = "the second judge gave no verdict on the record"


@dataclass
class Pairs:
    """Verdicts of two judges on the same passages."""

    first: list[bool] = field(default_factory=list)
    second: list[bool] = field(default_factory=list)

    def add(self, verdicts: Iterable[tuple[bool, bool]]) -> None:
        """Add the verdicts on one record's passages."""
        for first, second in verdicts:
            self.first.append(first)
            self.second.append(second)

    def summary(self) -> Row:
        """Say how far they agree."""
        return agreement(self.first, self.second)


def decide(first: bool, second: bool | None, rule: str) -> bool:
    """Say whether a passage is relevant by its verdicts; without a second one the first decides."""
    if second is None or rule == "first":
        return first
    return first and second if rule == "both" else first or second


def why_not(first: bool, second: bool | None) -> str:
    """Say why a passage was dropped."""
    return NOT_RELEVANT if second is None or first == second or not first else DISAGREED


class Other:
    """Rows of another judge by id; nothing where there is no such judge."""

    def __init__(self, paths: Sequence[Path], stack: ExitStack) -> None:
        self._rows = stack.enter_context(RowFile(paths[0])) if paths else None

    def row(self, row_id: str) -> Row | None:
        """Return the judge's row of a record, if there is one."""
        return self._rows[row_id] if self._rows is not None and row_id in self._rows else None


def decided(row: Row, other: Row | None, rule: str) -> list[Row]:
    """Return the labels of a record with what was decided, and each judge's own verdict."""
    seconds = [label["relevant"] for label in other["labels"]] if other else [None] * len(row["labels"])
    return [
        label
        | {"relevant": decide(label["relevant"], second, rule), "first": label["relevant"]}
        | ({} if second is None else {"second": second})
        for label, second in zip(row["labels"], seconds, strict=True)
    ]


class Agreement:
    """The judges' verdicts on the same passages."""

    def __init__(self) -> None:
        self.listwise, self.second = Pairs(), Pairs()

    def add(self, labels: Sequence[Row], choice: Row | None) -> None:
        """Add the labels of a record, and the listwise choice among its candidates."""
        self.second.add((label["first"], label["second"]) for label in labels if "second" in label)
        if choice:
            right = {info["passage_id"] for info in choice["right_info"]}
            self.listwise.add((label["first"], label["passage_id"] in right) for label in labels)


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the records, the dropped passages and the report."""
    rule = step.settings["label"]["decide"]
    judges = Agreement()
    out, dropped = step.writer(args.out), step.writer(args.dropped, may_be_empty=True)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        listwise, seconds = Other(args.listwise, stack), Other(args.second, stack)
        for row in step.rows(args.rows, "records"):
            other, choice = seconds.row(row["id"]), listwise.row(row["id"])
            counts["records"] += 1
            if other is None and rule != "first":
                counts["left_out"] += 1
                dropped.write({"id": row["id"], "kind": "record", "reason": NO_SECOND})
                continue
            labels = decided(row, other, rule)
            judges.add(labels, choice)
            kept = [label for label in labels if label["relevant"]]
            counts.update(passages=len(labels), kept=len(kept), without=not kept)
            for label in (label for label in labels if not label["relevant"]):
                reason = why_not(label["first"], label.get("second"))
                place = {"id": row["id"], "kind": "passage", "passage_id": label["passage_id"]}
                dropped.write(place | {"reason": reason})
            out.write(row | {"labels": labels} | ({"right_info": choice["right_info"]} if choice else {}))
    report = {
        "records": {name: counts[name] for name in ("records", "left_out", "without")},
        "passages": {"in": counts["passages"], "kept": counts["kept"], "dropped": counts["passages"] - counts["kept"]},
        "decide": rule,
        "listwise_and_pointwise": judges.listwise.summary() if args.listwise else None,
        "first_and_second_judge": judges.second.summary() if args.second else None,
    }
    step.file(args.report).write_text(render_json(report), encoding="utf-8")
    step.facts["passages"] = report["passages"]
    left_out = counts["left_out"]
    step.count(rows_in=counts["records"], kept=counts["records"] - left_out, dropped={NO_SECOND: left_out})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "pointwise_labeled.jsonl")
    add_input(parser, "--listwise", "recall_labeled.jsonl, where it was made", nargs="*", default=[])
    add_input(parser, "--second", "pointwise_labeled_second.jsonl, where it was made", nargs="*", default=[])
    add_output(parser, "--out", "relevant.jsonl")
    add_output(parser, "--dropped", "relevant.dropped.jsonl")
    add_output(parser, "--report", "label_report.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
