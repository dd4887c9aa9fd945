"""Read each prediction of a multiple choice, by what was generated and by what is likeliest, and hold it to the key."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.errors import FinetrailError
from finetrail.examples.choices import Unreadable, read_prediction
from finetrail.rows.records import Row, zip_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser


def grade(prediction: Row, choice: Row) -> Row:
    """Grade a prediction: indices of options, None where the reply could not be read, and why.

    The likeliest option is the one with the fewest nats a token: the sum would prefer short options to likely ones.
    Where a predictor gives no likelihoods, its likeliest answer is the one that it gave; of a row set aside it is none.
    """
    fault = None
    generated: int | None = None
    try:
        generated = read_prediction(prediction["answer"], choice)
    except Unreadable as error:
        fault = str(error)
    likeliest = None if "set_aside" in prediction else generated
    if prediction["options"] is not None:
        nats = [loss["nats"] / loss["tokens"] for loss in prediction["options"]]
        likeliest = nats.index(min(nats))
    return {"generated": generated, "fault": fault, "likeliest": likeliest}


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the predictions with their grades."""
    out = step.writer(args.out)
    for prediction, test in step.progress("predictions").over(zip_rows(args.rows, args.test)):
        if "choice" not in test:
            hint = "`evaluate.metric: choices` needs a multiple choice in every record"
            raise FinetrailError("the question has no options", where=test["id"], hint=hint)
        out.write(prediction | {"choice": test["choice"], "grade": grade(prediction, test["choice"])})
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
