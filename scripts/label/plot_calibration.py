"""Draw a calibration from its report."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.report.plots.calibration_picture import draw_calibration
from finetrail.rows.artifacts import read_json
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

ENVIRONMENT = "plots"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the picture."""
    draw_calibration(read_json(args.report), args.title, step.file(args.picture))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--report", "the report, as JSON")
    parser.add_argument("--title", default="Calibration", help="stands above the picture")
    add_output(parser, "--picture", "the picture, as SVG")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
