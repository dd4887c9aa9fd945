"""Hold each prediction to the words that support the answer to its question: exact match and F1."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.metrics.answer_overlap import exact_match, token_f1
from finetrail.rows.records import Row, zip_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

CARRIED = ("kind", "fact_trained")


def graded(prediction: Row, test: Row) -> Row:
    """Return a prediction with its grade; the reference is the supporting span, or the answer where there is none."""
    reference: str = test["reference"] if "reference" in test else test["answer"]
    answer = prediction["answer"]
    grade = {"exact_match": exact_match(answer, reference), "f1": round(token_f1(answer, reference), 6)}
    return (
        prediction | {name: test[name] for name in CARRIED if name in test} | {"reference": reference, "grade": grade}
    )


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the predictions with their grades."""
    out = step.writer(args.out)
    for prediction, test in step.progress("predictions", args.rows).over(zip_rows(args.rows, args.test)):
        out.write(graded(prediction, test))
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "predictions")
    add_input(parser, "--test", "the fold's test.jsonl")
    add_output(parser, "--out", "graded predictions")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
