"""The scores of retrieval backends as a picture; the same report gives the same bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.metrics.bootstrap import bounds_apart
from finetrail.report.plots.figure import svg_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = ("ndcg@10", "mrr")


def draw_retrieval(report: Mapping[str, Any], title: str, path: Path) -> None:
    """Write the picture as SVG: one panel a form of the queries, a bar with its interval a backend and measure.

    Args:
        report: what the step `evaluate_retrieval` writes.
        title: stands above it.
        path: the file; its suffix does not matter.
    """
    forms = report["forms"]
    shows = f"Scores of retrieval backends with their intervals, a panel for each of {', '.join(forms)}."
    with svg_figure(path, title, shows=shows, size=(max(5, 4 * len(forms)), 4)) as figure:
        for axes, (form, found) in zip(figure.subplots(1, len(forms), squeeze=False)[0], forms.items(), strict=True):
            _draw(axes, form, found)


def _draw(axes: "Axes", form: str, found: Mapping[str, Any]) -> None:
    deep = [name for name in found["comparisons"] if name.startswith("recall@")][-1:]
    measures = [*MEASURES, *deep]
    backends = list(found["comparisons"]["ndcg@10"]["models"])
    width = 0.8 / len(backends)
    for number, backend in enumerate(backends):
        scores = [found["comparisons"][measure]["models"][backend] for measure in measures]
        heights = [score["estimate"] for score in scores]
        errors = bounds_apart(scores)
        places = [place + number * width for place in range(len(measures))]
        axes.bar(places, heights, width, label=backend, yerr=errors, capsize=2, error_kw={"linewidth": 0.8})
    units = found["comparisons"]["ndcg@10"]["units"]
    axes.set(title=f"{form} ({units} queries)", ylim=(0, 1), ylabel="score")
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(measures))], measures)
    axes.grid(visible=False, axis="x")
    axes.legend()
