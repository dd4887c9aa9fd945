"""Pictures of several series of values: how each is distributed, and its values one by one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from finetrail.report.plots.figure import COLOURS, MARKERS, svg_figure

BINS = 24


def draw_distributions(
    series: Mapping[str, Sequence[float]], path: Path, *, title: str, measure: str, counted: str
) -> None:
    """Draw a histogram of each series, one below the other over a common axis.

    Args:
        series: name → values.
        path: the file; its suffix does not matter.
        title: stands above them.
        measure: what the values are.
        counted: what is counted.
    """
    values = [value for one in series.values() for value in one]
    low, high = min(values, default=0), max(values, default=1)
    shows = f"Histograms of {measure}, one for each of {', '.join(series)}."
    with svg_figure(path, title, shows=shows, size=(8, 1.2 + 1.1 * len(series))) as figure:
        panels = figure.subplots(len(series), 1, squeeze=False, sharex=True)[:, 0] if series else ()
        for number, (axes, (name, own)) in enumerate(zip(panels, series.items(), strict=True)):
            axes.hist(own, BINS, range=(low, high if high > low else low + 1), color=COLOURS[number % len(COLOURS)])
            axes.set_title(f"{name} ({len(own)} {counted})", loc="left", fontsize=9)
            axes.locator_params(axis="y", integer=True, nbins=3)
        figure.supxlabel(measure, fontsize=10)
        figure.supylabel(counted, fontsize=10)


def draw_values(series: Mapping[str, Sequence[float]], path: Path, *, title: str, measure: str) -> None:
    """Draw the values of each series one after the other, as points; all have the same rows in the same order.

    Args:
        series: name → values.
        path: the file; its suffix does not matter.
        title: stands above them.
        measure: what the values are.
    """
    shows = f"{measure} of each row, a sign for each of {', '.join(series)}."
    with svg_figure(path, title, shows=shows) as figure:
        axes = figure.add_subplot()
        for number, (name, own) in enumerate(series.items()):
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(range(1, len(own) + 1), own, marker, markersize=4, alpha=0.7, label=name)
        low, high = axes.get_ylim()
        axes.set(xlabel="row, in the order of the file", ylabel=measure, ylim=(min(low, 0.0), max(high, 1.02)))
        axes.locator_params(axis="x", integer=True)
        figure.legend(loc="outside right upper")
