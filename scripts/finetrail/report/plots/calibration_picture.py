"""Pictures of a calibration: gold and verdicts by score, and how many planted defects were noticed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.metrics.bootstrap import bounds_apart
from finetrail.report.plots.figure import BLUE, ORANGE, svg_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_calibration(report: Mapping[str, Any], title: str, path: Path) -> None:
    """Write a report as SVG: people's labels and the judge's by score, where there are any, and the planted defects.

    Args:
        report: as ``label_calibration.json`` or ``judge_calibration.json`` has it.
        title: stands above it.
        path: the file; its suffix does not matter.
    """
    panels = [_draw_bins] if report.get("human") else []
    note = " (offline teacher)" if report["rests_on_offline_teacher"] else ""
    shows = "Share of planted defects that were noticed, by kind, with intervals."
    shows += " Beside it, how often people and the labeller say yes, by score." if panels else ""
    with svg_figure(path, f"{title}{note}", shows=shows, size=(4.5 * (len(panels) + 1), 4.0)) as figure:
        for number, panel in enumerate(panels, start=1):
            panel(figure.add_subplot(1, len(panels) + 1, number), report["human"])
        _draw_planted(figure.add_subplot(1, len(panels) + 1, len(panels) + 1), report["planted"])


def _draw_bins(axes: "Axes", human: Mapping[str, Any]) -> None:
    bins = human["by_score"]
    names = [f"{one['from']:.2f}-{one['to']:.2f}" for one in bins]
    axes.plot(names, [one["gold_yes"] for one in bins], marker="o", color=ORANGE, label="people say yes")
    axes.plot(names, [one["said_yes"] for one in bins], marker="s", color=BLUE, label="labeller says yes")
    axes.set(ylim=(0, 1.02), xlabel="score of the reranker", ylabel="share of the pairs")
    axes.set_title(f"{human['pairs']} pairs, kappa {human['kappa']}")
    axes.tick_params(axis="x", labelsize=8, labelrotation=45)
    axes.legend()


def _draw_planted(axes: "Axes", planted: Mapping[str, Any]) -> None:
    kinds = {name: entry["detected"] for name, entry in planted.items() if entry["detected"]}
    rates = [entry["estimate"] for entry in kinds.values()]
    names = [name.replace("_", " ") for name in kinds]
    axes.barh(
        names,
        rates,
        xerr=bounds_apart(kinds.values()),
        color=BLUE,
        height=0.5,
        error_kw={"ecolor": "black", "capsize": 3},
    )
    axes.set(xlim=(0, 1.02), xlabel="share noticed")
    axes.set_title("planted defects")
    axes.grid(visible=False, axis="y")
