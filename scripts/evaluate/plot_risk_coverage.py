"""Draw how wrong each model is at what share of the questions, if it kept silent where a refusal is likeliest."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.report.plots.risk_picture import draw_risk_coverage
from finetrail.rows.artifacts import read_json
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

ENVIRONMENT = "plots"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the picture."""
    draw_risk_coverage(read_json(args.metrics)["risk_coverage"], args.title, step.file(args.picture))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--metrics", "metrics file of a model")
    parser.add_argument("--title", default="Risk and coverage", help="stands above the picture")
    add_output(parser, "--picture", "the picture, as SVG")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
