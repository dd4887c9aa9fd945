"""The picture of a risk-coverage curve: the share of wrong answers by the share of questions that are answered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetrail.report.svg import svg_figure

COLOURS = ("#08519c", "#d94801", "#7a7a7a", "#238b45")


def draw_risk_coverage(curves: Mapping[str, Any], title: str, path: Path) -> None:
    """Write curves as SVG.

    Args:
        curves: model → what `finetrail.metrics.risk_coverage.risk_coverage` returns; models without a point are named.
        title: stands above them.
        path: the file; its suffix does not matter.
    """
    with svg_figure(path, (5.5, 4.0)) as figure:
        axes = figure.add_subplot(1, 1, 1)
        for number, (name, curve) in enumerate(curves.items()):
            points = curve["points"]
            area = "answers nothing" if curve["area"] is None else f"mean risk {curve['area']:.3f}"
            axes.plot(
                [point["coverage"] for point in points],
                [point["risk"] for point in points],
                color=COLOURS[number % len(COLOURS)],
                linewidth=1.5,
                label=f"{name}: {area}",
            )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axes.set_xlabel("coverage: share of the questions that are answered, the surest first")
        axes.set_ylabel("risk: share of them that are wrong")
        axes.set_title(title, fontsize=10)
        axes.legend(frameon=False, fontsize=8)
