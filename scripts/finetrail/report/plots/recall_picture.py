"""Curves over a count as a picture: recall by depth, F1 by distractors."""

from collections.abc import Mapping
from pathlib import Path

from finetrail.report.plots.figure import MARKERS, svg_figure


def draw_recall(curves: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the recall of rankings by depth (logarithmic)."""
    _draw(curves, path, title="Gold passages found", xlabel="first k passages", ylabel="recall at k", logarithmic=True)


def draw_distractors(curves: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the F1 of models by the number of passages that stand beside the gold ones."""
    xlabel = "distractors beside the gold passages"
    _draw(curves, path, title="Answers among distractors", xlabel=xlabel, ylabel="F1 of the answers", logarithmic=False)


def _draw(
    curves: Mapping[str, Mapping[str, float]], path: Path, *, title: str, xlabel: str, ylabel: str, logarithmic: bool
) -> None:
    with svg_figure(path, title, shows=f"{ylabel} by {xlabel}, a line for each of {', '.join(curves)}.") as figure:
        axes = figure.add_subplot()
        for number, (name, values) in enumerate(curves.items()):
            marker = MARKERS[number % len(MARKERS)]
            axes.plot([int(depth) for depth in values], list(values.values()), marker=marker, markersize=5, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, 1.02))
        if logarithmic:
            axes.set_xscale("log")
        depths = sorted({int(depth) for values in curves.values() for depth in values})
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.minorticks_off()
        axes.legend()
