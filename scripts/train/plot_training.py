"""Draw the losses of a training from its log."""

import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.report.plots.loss_picture import draw_losses, read_losses
from finetrail.report.plots.plot_step import plot_parser, run_plot_step
from finetrail.step.step import Step, add_input

ENVIRONMENT = "plots"


def draw(step: Step, training_log: Path, title: str, picture: Path) -> None:
    """Draw the picture, and note how many losses it shows."""
    losses = read_losses(step.rows(training_log))
    if not losses.steps and not losses.eval_steps:
        raise FinetrailError("the log holds no loss", where=str(training_log), hint="Train the model again")
    draw_losses(losses, title, picture)
    step.facts["steps"] = {"training": len(losses.steps), "dev": len(losses.eval_steps)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = plot_parser(__doc__, __file__)
    add_input(parser, "--training-log", "training_log.jsonl")
    return run_plot_step(parser, argv, __file__, draw)


if __name__ == "__main__":
    sys.exit(main())
