"""Draw how wrong each model is at what share of the questions, if it kept silent where a refusal is likeliest."""

import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.report.plots.plot_step import plot_parser, run_plot_step
from finetrail.report.plots.risk_picture import draw_risk_coverage
from finetrail.rows.artifacts import read_json
from finetrail.step.step import Step, add_input

ENVIRONMENT = "plots"


def draw(_step: Step, metrics: Path, title: str, picture: Path) -> None:
    """Draw the picture."""
    draw_risk_coverage(read_json(metrics)["risk_coverage"], title, picture)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = plot_parser(__doc__, __file__)
    add_input(parser, "--metrics", "metrics file of a model")
    return run_plot_step(parser, argv, __file__, draw)


if __name__ == "__main__":
    sys.exit(main())
