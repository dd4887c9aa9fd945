"""A few numbers that describe many: the mean and quantiles."""

from collections.abc import Sequence

from finetrail.errors import FinetrailError

PERCENTS = (0, 5, 50, 95, 100)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return mean, minimum, 5 %, median, 95 % and maximum (nearest rank).

    Raises:
        FinetrailError: there is no value.
    """
    if not values:
        raise FinetrailError("there are no values to describe")
    ordered = sorted(values)
    ranks = {f"p{percent}": ordered[round(percent / 100 * (len(ordered) - 1))] for percent in PERCENTS}
    return {"mean": round(sum(values) / len(values), 4), **ranks}
