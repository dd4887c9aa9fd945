"""Whether a model looks at its image: the reference must be likelier behind the right image than behind another one."""

from collections.abc import Sequence
from typing import Any

from finetrail.metrics.bootstrap import Sample, bootstrap
from finetrail.rows.records import Row


def right_beats_another(rows: Sequence[Row], drawn: dict[str, Any]) -> Row | None:
    """Return the share of other images behind which the reference is less likely than behind the right one.

    Args:
        rows: predictions with ``group``, ``loss`` and ``swapped``, each with ``nats``; without a loss of its own, a
            row is passed over.
        drawn: resamples and seed of the bootstrap over groups.

    Returns:
        The share with its interval and the number of pairs; None where nothing was swapped.
    """
    measured = [row for row in rows if row.get("swapped") and row["loss"] is not None]
    pairs = [(row["group"], swap["nats"] > row["loss"]["nats"]) for row in measured for swap in row["swapped"]]
    if not pairs:
        return None
    sample = Sample.of_means([group for group, _ in pairs], [float(better) for _, better in pairs])
    return {**bootstrap(sample, **drawn).as_row(), "pairs": len(pairs)}
