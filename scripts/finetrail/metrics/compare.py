"""Put a tuned model beside its controls: the same units, the same metric, an interval on each difference."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finetrail.errors import FinetrailError
from finetrail.metrics.bootstrap import Sample, bootstrap, bounds_text, paired_bootstrap
from finetrail.rows.records import Row


class Measurement(NamedTuple):
    """One unit (a turn, a conversation): its group, and what it adds to both sums of the statistic."""

    group: str
    numerator: float
    denominator: float = 1.0


_NAMED = 20  # rows set aside whose ids are written

Measured = Mapping[str, Measurement]
"""Unit id → measurement; the ids pair the models."""


def compare(
    metric: str,
    subject: str,
    models: Mapping[str, Measured],
    *,
    higher_is_better: bool,
    resamples: int,
    seed: int,
) -> Row:
    """Measure every model, and the subject against each of the others.

    Args:
        metric: name of the metric.
        subject: the model of interest, a key of `models`.
        models: model → its measurements, all on the same units; their order is that of the table.
        higher_is_better: how to read a difference.
        resamples: resamples of each interval.
        seed: seed of each interval.

    Returns:
        ``{"metric", "higher_is_better", "units", "seed", "models": {name: interval}, "differences":
        {control: interval + "better"}}``; a difference is subject minus control, and ``better`` is True or
        False where its interval excludes 0 and None where it does not, or where there is none.

    Raises:
        FinetrailError: the subject is not there, or two models were measured on different units.
    """
    if subject not in models:
        raise FinetrailError(f"the model {subject!r} has no measurements", hint=f"Known: {', '.join(models)}")
    samples = {name: _sample(name, measured, models[subject]) for name, measured in models.items()}
    values = {name: bootstrap(s, resamples=resamples, seed=seed).as_row() for name, s in samples.items()}
    differences: dict[str, Row] = {}
    for name, sample in samples.items():
        if name == subject:
            continue
        interval = paired_bootstrap(samples[subject], sample, resamples=resamples, seed=seed)
        better = (interval.estimate > 0) == higher_is_better if interval.excludes_zero else None
        differences[name] = {**interval.as_row(), "better": better}
    return {
        "metric": metric,
        "higher_is_better": higher_is_better,
        "units": len(models[subject]),
        "seed": seed,
        "models": values,
        "differences": differences,
    }


def _sample(name: str, measured: Measured, reference: Measured) -> Sample:
    """Bring measurements into the order of the sorted unit ids."""
    if measured.keys() != reference.keys():
        unit = min(measured.keys() ^ reference.keys())
        raise FinetrailError(f"the unit is measured for one model only (compared with {name!r})", where=unit)
    ordered = [measured[unit] for unit in sorted(measured)]
    if any(measured[unit].group != reference[unit].group for unit in measured):
        raise FinetrailError(f"the groups of {name!r} differ from those of the model it is compared with")
    groups, numerators, denominators = zip(*ordered, strict=True) if ordered else ((), (), ())
    return Sample(groups, numerators, denominators)


def table_lines(comparison: Row) -> list[str]:
    """Render a comparison as a Markdown table."""
    head = [
        f"| {comparison['metric']} | value | difference | 95 % interval |",
        "|---|---|---|---|",
    ]
    return head + [_table_line(name, row, comparison) for name, row in comparison["models"].items()]


def _table_line(name: str, row: Row, comparison: Row) -> str:
    difference = comparison["differences"].get(name)
    if difference is None:
        return f"| **{name}** | {row['estimate']:.4f} | | {bounds_text(row, '.4f')} (value) |"
    shown = f"{difference['estimate']:+.4f} | {bounds_text(difference, '+.4f')}"
    return f"| {name} | {row['estimate']:.4f} | {shown} |"


def set_aside(models: Mapping[str, Sequence[Row]]) -> Row:
    """Say which rows the models could not be shown; nothing where there are none.

    A row that got no answer counts as wrong. One without a loss is left out of the losses of every model.

    Args:
        models: model → its predictions; ``set_aside`` is the reason, of such a row.
    """
    found = {name: [row for row in rows if "set_aside" in row] for name, rows in models.items()}
    told = {
        name: {
            "rows": len(rows),
            "of": len(models[name]),
            "unanswered": sum(not row["answer"] for row in rows),
            "without_loss": sum(row.get("loss") is None for row in rows),
            "reasons": dict(sorted(Counter(row["set_aside"] for row in rows).items())),
            "first": [row["id"] for row in rows[:_NAMED]],
        }
        for name, rows in found.items()
        if rows
    }
    return {"set_aside": told} if told else {}


def set_aside_lines(metrics: Row) -> list[str]:
    """Say in a line a model what `set_aside` found."""
    return [
        f"{name} could not be shown {told['rows']} of {told['of']} rows: {told['unanswered']} without an answer count"
        f" as wrong, {told['without_loss']} have no loss"
        for name, told in metrics.get("set_aside", {}).items()
    ]
