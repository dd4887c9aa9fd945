"""Draw a calibration from its report."""

import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.report.plots.calibration_picture import draw_calibration
from finetrail.report.plots.plot_step import run_plot_step
from finetrail.rows.artifacts import read_json
from finetrail.step.step import Step


def draw(_step: Step, report: Path, title: str, picture: Path) -> None:
    """Draw the picture."""
    draw_calibration(read_json(report), title, picture)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    return run_plot_step(__doc__, argv, __file__, draw, "--report", "the report, as JSON")


if __name__ == "__main__":
    sys.exit(main())
