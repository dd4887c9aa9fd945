"""Intervals by the group bootstrap: whole groups are drawn with replacement (Efron and Tibshirani 1993).

A statistic is a ratio of sums, ``sum(numerators) / sum(denominators)``: a mean where all denominators are 1,
a loss per token where they are token counts. With few groups (below about 20) such intervals are too narrow;
therefore their number is part of every result. One group alone says nothing of others: it has no interval.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

DIGITS = 9
BLOCK = 4_000_000
"""Numbers that are drawn at once, which bounds the memory (32 MB)."""


@dataclass(frozen=True)
class Sample:
    """One model's measurements, one entry a unit (a turn, a conversation), and each unit's group."""

    groups: Sequence[str]
    numerators: Sequence[float]
    denominators: Sequence[float]

    @classmethod
    def of_means(cls, groups: Sequence[str], values: Sequence[float]) -> "Sample":
        """Measurements of which the mean is the statistic."""
        return cls(groups, values, [1.0] * len(values))


@dataclass(frozen=True)
class Interval:
    """An estimate and the percentile interval of its resamples; without bounds where there is one group."""

    estimate: float
    low: float | None
    high: float | None
    level: float
    resamples: int
    groups: int

    @property
    def excludes_zero(self) -> bool:
        """Say whether zero lies outside."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def as_row(self) -> dict[str, float | None]:
        """Return the fields as a dictionary, for a file."""
        return asdict(self)


def bootstrap(sample: Sample, *, resamples: int, seed: int, level: float = 0.95) -> Interval:
    """Estimate one model's statistic with its interval.

    Raises:
        FinetrailError: see `paired_bootstrap`.
    """
    totals = _group_totals(sample)
    return _interval(totals[None], resamples=resamples, seed=seed, level=level)


def paired_bootstrap(first: Sample, second: Sample, *, resamples: int, seed: int, level: float = 0.95) -> Interval:
    """Estimate the difference of two models' statistics, first minus second, on the same units.

    Each resample draws the same groups for both models, so that what makes a group hard cancels out.

    Raises:
        FinetrailError: the groups of the two samples differ, there is no unit, the lengths differ, a value is
            not finite, or a group's denominators do not add up to more than 0.
    """
    import numpy as np

    if list(first.groups) != list(second.groups):
        raise FinetrailError("the two models were not measured on the same units in the same order")
    totals = np.stack([_group_totals(first), _group_totals(second)])
    return _interval(totals, resamples=resamples, seed=seed, level=level)


def _group_totals(sample: Sample) -> "Floats":
    """Return the sums of numerators and denominators a group, shape (2, groups), ordered by group name."""
    import numpy as np

    values = np.array([sample.numerators, sample.denominators], dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(sample.groups) or not len(sample.groups):
        raise FinetrailError("groups, numerators and denominators must be equally many and at least one")
    if not np.isfinite(values).all():
        raise FinetrailError("a measurement is not a finite number")
    names, place = np.unique(np.array(sample.groups, dtype=object), return_inverse=True)
    totals = np.zeros((2, len(names)))
    for number, row in enumerate(values):
        totals[number] = np.bincount(place, weights=row, minlength=len(names))
    if (totals[1] <= 0).any():
        empty = names[int(np.argmax(totals[1] <= 0))]
        raise FinetrailError("the group's denominators do not add up to more than 0", where=str(empty))
    return totals


def _interval(totals: "Floats", *, resamples: int, seed: int, level: float) -> Interval:
    """Resample totals of shape (models, 2, groups); models are one, or two to subtract."""
    import numpy as np

    count = totals.shape[2]
    estimate = round(float(_statistic(totals.sum(axis=2, keepdims=True))[0]), DIGITS) + 0.0
    if count == 1:
        return Interval(estimate, None, None, level, resamples, count)
    rng = np.random.Generator(np.random.PCG64(seed))
    block = max(1, BLOCK // count)
    drawn = []
    for start in range(0, resamples, block):
        times = rng.multinomial(count, np.full(count, 1 / count), size=min(block, resamples - start))
        drawn.append(_statistic(np.einsum("rg,msg->msr", times, totals, optimize=False)))
    bounds = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    low, high = (round(float(value), DIGITS) + 0.0 for value in bounds)
    return Interval(estimate, low, high, level, resamples, count)


def bounds_text(row: Mapping[str, Any], form: str) -> str:
    """Write the bounds of an interval's row for people, each in a form such as ``+.3f``."""
    if row["low"] is None:
        return "no interval: one group"
    return f"{row['low']:{form}} to {row['high']:{form}}"


def bounds_apart(rows: Iterable[Mapping[str, Any]]) -> list[list[float]]:
    """Return how far the bounds of intervals lie below and above their estimates, for error bars: [2, rows]."""
    pairs = [
        (row["estimate"] - row["low"], row["high"] - row["estimate"]) if row["low"] is not None else (0.0, 0.0)
        for row in rows
    ]
    return [[below for below, _ in pairs], [above for _, above in pairs]]


def _statistic(sums: "Floats") -> "Floats":
    """Turn sums of shape (models, 2, n) into n ratios, or n differences of ratios."""
    ratios = sums[:, 0] / sums[:, 1]
    result: Floats = ratios[0] - ratios[1] if len(ratios) == 2 else ratios[0]
    return result
