"""Draw the scores of retrieval backends from their report."""

import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.report.plots.plot_step import plot_parser, run_plot_step
from finetrail.report.plots.retrieval_picture import draw_retrieval
from finetrail.rows.artifacts import read_json
from finetrail.step.step import Step, add_input

ENVIRONMENT = "plots"


def draw(_step: Step, report: Path, title: str, picture: Path) -> None:
    """Draw the picture."""
    draw_retrieval(read_json(report), title, picture)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = plot_parser(__doc__, __file__)
    add_input(parser, "--report", "metrics/retrieval.json")
    return run_plot_step(parser, argv, __file__, draw)


if __name__ == "__main__":
    sys.exit(main())
