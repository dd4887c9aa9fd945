"""Draw the scores of retrieval backends from their report."""

import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.report.plots.plot_step import run_plot_step
from finetrail.report.plots.retrieval_picture import draw_retrieval
from finetrail.rows.artifacts import read_json
from finetrail.step.step import Step


def draw(_step: Step, report: Path, title: str, picture: Path) -> None:
    """Draw the picture."""
    draw_retrieval(read_json(report), title, picture)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    return run_plot_step(__doc__, argv, __file__, draw, "--report", "metrics/retrieval.json")


if __name__ == "__main__":
    sys.exit(main())
