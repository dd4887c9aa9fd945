"""Draw the losses of a training from its log."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.errors import FinetrailError
from finetrail.report.plots.loss_picture import draw_losses, read_losses
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

ENVIRONMENT = "plots"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the picture."""
    losses = read_losses(step.rows(args.training_log))
    if not losses.steps and not losses.eval_steps:
        raise FinetrailError("the log holds no loss", where=str(args.training_log), hint="Train the model again")
    draw_losses(losses, args.title, step.file(args.picture))
    step.facts["steps"] = {"training": len(losses.steps), "dev": len(losses.eval_steps)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--training-log", "training_log.jsonl")
    parser.add_argument("--title", default="Loss", help="stands above the picture")
    add_output(parser, "--picture", "the picture, as SVG")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
