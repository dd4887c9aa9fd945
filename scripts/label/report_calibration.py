"""Report how good the labeller is: against people's labels, on planted passages, and what its yes is worth.

Without people's labels only the planted passages are reported; there is then no corrected yield.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from finetrail.metrics.calibration import Pair, compare_with_gold, corrected_yield, interval
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, read_rows, read_table
from finetrail.serving.offline.teacher import rests_on_offline
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("label.calibration", "label.model", "label.scale")
ENVIRONMENT = "data"

HUMAN = "human"
ASSUMED = (
    "that the labeller errs on the recipe's passages as on the pairs that people labelled, which were chosen from what "
    "other searches had found"
)


def pairs_of(row: Row, group: str) -> Iterator[tuple[str, Pair]]:
    """Yield the origin of each labelled pair of a row, and the pair."""
    for chunk, expected, label in zip(row["chunks"], row["expected"], row["labels"], strict=True):
        said = label["relevant"]
        grade = float(label.get("grade", said))
        yield expected["origin"], Pair(group, expected["relevant"], said, grade, chunk["score"])


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the report."""
    settings: dict[str, Any] = step.settings["label"]
    calibration = settings["calibration"]
    draws = {"resamples": calibration["resamples"], "seed": calibration["seed"]}
    groups = {name: row["group"] for name, row in read_table(args.splits).items()}
    found = [item for row in step.rows(args.pairs, "records") for item in pairs_of(row, groups[row["id"]])]
    human = [pair for origin, pair in found if origin == HUMAN]
    planted = [pair for origin, pair in found if origin != HUMAN]
    labels = [(groups[row["id"]], label["relevant"]) for row in read_rows(args.labels) for label in row["labels"]]
    detected = [not pair.said for pair in planted]
    report = {
        "labeller": settings["model"]["model"],
        "scale": settings["scale"],
        **rests_on_offline(settings["model"]["model"]),
        "human": compare_with_gold(human, **draws) if human else None,
        "yield": corrected_yield(labels, human, **draws) | {"assumes": ASSUMED} if human and labels else None,
        "planted": {
            "other_passage": {
                "pairs": len(planted),
                "detected": interval([pair.group for pair in planted], detected, **draws),
            }
        },
        "pairs_not_used": dict(sorted(Counter(row["reason"] for row in read_rows(args.dropped)).items())),
    }
    step.file(args.out).write_text(render_json(report), encoding="utf-8")
    step.count(rows_in=len(found), kept=len(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--pairs", "calibration/labeled.jsonl")
    add_input(parser, "--dropped", "calibration/pairs.dropped.jsonl")
    add_input(parser, "--labels", "pointwise_labeled.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "label_calibration.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
