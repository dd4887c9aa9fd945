"""The picture of a risk-coverage curve: the share of wrong answers by the share of questions that are answered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetrail.report.plots.figure import svg_figure


def draw_risk_coverage(curves: Mapping[str, Any], title: str, path: Path) -> None:
    """Write curves as SVG.

    Args:
        curves: model → what `finetrail.metrics.risk_coverage.risk_coverage` returns; models without a point are named.
        title: stands above them.
        path: the file; its suffix does not matter.
    """
    shows = f"Share of wrong answers by share of answered questions, for {', '.join(curves)}."
    with svg_figure(path, title, shows=shows, size=(6, 4.5)) as figure:
        axes = figure.add_subplot()
        for number, (name, curve) in enumerate(curves.items()):
            points = curve["points"]
            area = "answers nothing" if curve["area"] is None else f"mean risk {curve['area']:.3f}"
            axes.plot(
                [point["coverage"] for point in points],
                [point["risk"] for point in points],
                linestyle=("-", "--", "-.", ":")[number % 4],
                label=f"{name}: {area}",
            )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axes.set_xlabel("coverage: share of the questions that are answered, the surest first")
        axes.set_ylabel("risk: share of these answers that are wrong")
        axes.legend()
