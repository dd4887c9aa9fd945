"""The program around a picture that one file is drawn from: its arguments, and how it runs."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

Draw = Callable[[Step, Path, str, Path], None]
"""Draws what a file holds: the step, the file, the title, and where the picture goes."""


def run_plot_step(
    description: str | None, argv: Sequence[str] | None, script: str, draw: Draw, option: str, help: str
) -> int:
    """Run a step that draws one picture.

    Args:
        description: the script's docstring.
        argv: its arguments; None for those of the command line.
        script: its `__file__`.
        draw: draws the picture.
        option: names the file to draw from, such as ``--report``.
        help: what this file is.
    """
    parser = step_parser(description)
    add_input(parser, option, help)
    subject = Path(script).stem.removeprefix("plot_").replace("_", " ").capitalize()
    parser.add_argument("--title", default=subject, help="stands above the picture")
    add_output(parser, "--picture", "the picture, as SVG")

    def work(step: Step, args: argparse.Namespace) -> None:
        draw(step, step.input_paths()[0], args.title, step.file(args.picture))

    return run_step(parser, argv, script, work)
