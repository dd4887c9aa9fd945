"""The picture of a distribution of scores from 0 to 10: a bar for each bin, in the colour of its verdict."""

from pathlib import Path

from finetrail.metrics.score_distribution import VERDICTS, count_text, verdict_of
from finetrail.report.plots.figure import GREEN, ORANGE, SKY, svg_figure
from finetrail.rows.records import Row

COLOUR_OF = dict(zip(VERDICTS, (GREEN, SKY, ORANGE), strict=True))


def draw_verdicts(summary: Row, title: str, path: Path) -> None:
    """Write the bins as bars, the best scores above.

    Args:
        summary: what `finetrail.metrics.score_distribution.summarise` returns.
        title: stands above it.
        path: the file; its suffix does not matter.
    """
    bins = summary["distribution"]
    with svg_figure(path, title, shows="Number of scores in each of ten bins from 0 to 10, by verdict.") as figure:
        axes = figure.add_subplot()
        for verdict, colour in COLOUR_OF.items():
            own = [
                entry
                for entry in bins
                if verdict_of(entry["from"], summary["pass_score"], summary["review_score"]) == verdict
            ]
            axes.barh([entry["from"] for entry in own], [entry["count"] for entry in own], color=colour, label=verdict)
        most = max((entry["count"] for entry in bins), default=0) or 1
        for entry in bins:
            said = count_text(entry["count"], summary["total"])
            axes.annotate(
                said,
                (entry["count"], entry["from"]),
                textcoords="offset points",
                xytext=(4, 0),
                va="center",
                fontsize=9,
            )
        axes.set_yticks([entry["from"] for entry in bins], [f"{entry['from']}-{entry['to']}" for entry in bins])
        axes.set(xlim=(0, 1.2 * most), xlabel="rows", ylabel="score")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=len(COLOUR_OF))
