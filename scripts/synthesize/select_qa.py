"""Choose the validated pairs that are trained on, by their overall score, and list the others."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.rows.records import Row, content_id
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("synthesize.threshold",)

BELOW = "its overall score is below the threshold"
CARRIED = ("record_id", "kind", "answer", "session_id", "turn", "question", "history", "image", "calls", "support")


def example(row: Row) -> Row:
    """Make a training example of a pair."""
    return {
        "id": content_id("example", row["id"]),
        "parents": [row["id"]],
        **{name: row[name] for name in CARRIED},
        "scores": {"overall": row["validation"]["overall"], **row["validation"]["scores"]},
        "verdict": {"correct": True, "reason": f"overall score {row['validation']['overall']:g}"},
    }


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the examples, and what was dropped."""
    threshold: float = step.settings["synthesize"]["threshold"]
    out = step.writer(args.out)
    dropped = step.writer(args.dropped, may_be_empty=True)
    for row in step.rows(args.rows, "pairs"):
        score = row["validation"]["overall"]
        if score >= threshold:
            out.write(example(row))
        else:
            dropped.write(
                {"id": row["id"], "record_id": row["record_id"], "kind": "pair", "reason": BELOW, "overall": score}
            )
    step.count(rows_in=out.count + dropped.count, kept=out.count, dropped={BELOW: dropped.count})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "validated.jsonl")
    add_output(parser, "--out", "synthetic.jsonl")
    add_output(parser, "--dropped", "synthetic.dropped.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
