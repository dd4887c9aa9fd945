"""Curves over a count as a picture: recall by depth, F1 by distractors."""

from collections.abc import Mapping
from pathlib import Path

from finetrail.report.svg import svg_picture


def draw_recall(curves: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the recall of rankings by depth (logarithmic)."""
    _draw(curves, path, title="Gold passages found", xlabel="first passages", ylabel="recall", logarithmic=True)


def draw_distractors(curves: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the F1 of models by the number of passages that stand beside the gold ones."""
    _draw(curves, path, title="Answers among distractors", xlabel="distractors", ylabel="F1", logarithmic=False)


def _draw(
    curves: Mapping[str, Mapping[str, float]], path: Path, *, title: str, xlabel: str, ylabel: str, logarithmic: bool
) -> None:
    with svg_picture(path) as axes:
        for name, values in curves.items():
            axes.plot([int(depth) for depth in values], list(values.values()), marker="o", markersize=4, label=name)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, 1.02))
        if logarithmic:
            axes.set_xscale("log")
        axes.grid(visible=True, linewidth=0.3)
        axes.legend(frameon=False)
