"""The program around a picture that one file is drawn from: its arguments, and how it runs."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from finetrail.step.step import Step, add_output, run_step, step_parser

Draw = Callable[[Step, Path, str, Path], None]
"""Draws what a file holds: the step, the file, the title, and where the picture goes."""


def plot_parser(description: str | None, script: str) -> argparse.ArgumentParser:
    """Make a parser for a step that draws one picture; the step adds the file that it draws from."""
    parser = step_parser(description)
    subject = Path(script).stem.removeprefix("plot_").replace("_", " ").capitalize()
    parser.add_argument("--title", default=subject, help="stands above the picture")
    add_output(parser, "--picture", "the picture, as SVG")
    return parser


def run_plot_step(parser: argparse.ArgumentParser, argv: Sequence[str] | None, script: str, draw: Draw) -> int:
    """Run a step that draws one picture.

    Args:
        parser: made by `plot_parser`, with one input.
        argv: the arguments; None for those of the command line.
        script: the script's `__file__`.
        draw: draws the picture.
    """

    def work(step: Step, args: argparse.Namespace) -> None:
        draw(step, step.input_paths()[0], args.title, step.file(args.picture))

    return run_step(parser, argv, script, work)
