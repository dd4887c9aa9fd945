"""The losses of a training as a picture, drawn from its log; the same log gives the same bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.report.plots.figure import BLUE, ORANGE, SKY, svg_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WINDOW = 0.05  # share of the steps over which the smooth line is a mean


@dataclass
class Losses:
    """Steps and losses (nats per token) of a training, in order.

    Attributes:
        steps, train: the training loss of each logged step.
        eval_steps, evaluation: the dev loss where it was taken.
    """

    steps: list[int] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    eval_steps: list[int] = field(default_factory=list)
    evaluation: list[float] = field(default_factory=list)


def read_losses(log: Iterable[Mapping[str, Any]]) -> Losses:
    """Gather the losses of the rows of a ``training_log.jsonl``; a step without one is left out."""
    found = Losses()
    for row in log:
        if row.get("loss") is not None:
            found.steps.append(row["step"])
            found.train.append(row["loss"])
        if row.get("eval_loss") is not None:
            found.eval_steps.append(row["step"])
            found.evaluation.append(row["eval_loss"])
    return found


def smooth(values: list[float]) -> list[float]:
    """Return the mean of each value and those before it, over a twentieth of all (at least two)."""
    width = max(2, round(_WINDOW * len(values)))
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [(sums[end] - sums[max(0, end - width)]) / min(end, width) for end in range(1, len(values) + 1)]


def draw_losses(losses: Losses, title: str, path: Path) -> None:
    """Write the picture as SVG.

    Args:
        losses: at least one of them.
        title: stands above it.
        path: the file; its suffix does not matter.
    """
    with svg_figure(path, title, shows="Training loss and dev loss by optimizer step.") as figure:
        _draw(figure.add_subplot(), losses)


def _draw(axes: "Axes", losses: Losses) -> None:
    if losses.steps:
        axes.plot(losses.steps, losses.train, color=SKY, linewidth=0.8, label="training, each step")
        axes.plot(losses.steps, smooth(losses.train), color=BLUE, linewidth=1.6, label="training, smoothed")
    if losses.eval_steps:
        axes.plot(losses.eval_steps, losses.evaluation, color=ORANGE, marker="o", markersize=4, label="dev rows")
        best = min(range(len(losses.evaluation)), key=losses.evaluation.__getitem__)
        text = f"{losses.evaluation[best]:.4g} at step {losses.eval_steps[best]}"
        place = (losses.eval_steps[best], losses.evaluation[best])
        axes.annotate(text, place, textcoords="offset points", xytext=(-4, 8), ha="right", fontsize=9)
    axes.set(xlabel="optimizer step", ylabel="loss (nats per token)")
    axes.legend()
