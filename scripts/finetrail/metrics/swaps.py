"""Whether a model looks at its image: the reference must be likelier behind the right image than behind another one."""

from collections.abc import Sequence
from typing import Any

from finetrail.metrics.bootstrap import Sample, bootstrap
from finetrail.rows.records import Row, derive_seed

SWAPS = 4
"""Other images that each row is compared with."""


def swapped_rows(row: Row, rows: Sequence[Row], count: int = SWAPS) -> list[Row]:
    """Choose rows of the same kind and other groups whose images stand in for the right one, by a hash.

    Args:
        row: a row with an image.
        rows: rows of the same set; those without an image are passed over.
        count: how many are wanted.
    """
    others = [
        other
        for other in rows
        if other["group"] != row["group"] and other.get("kind") == row.get("kind") and other.get("image") is not None
    ]
    return sorted(others, key=lambda other: derive_seed("swapped image", row["id"], other["id"]))[:count]


def right_beats_another(rows: Sequence[Row], drawn: dict[str, Any]) -> Row | None:
    """Return the share of other images behind which the reference is less likely than behind the right one.

    Args:
        rows: predictions with ``group``, ``loss`` and ``swapped``, each with ``nats``.
        drawn: resamples and seed of the bootstrap over groups.

    Returns:
        The share with its interval and the number of pairs; None where nothing was swapped.
    """
    pairs = [(row["group"], swap["nats"] > row["loss"]["nats"]) for row in rows for swap in row.get("swapped", ())]
    if not pairs:
        return None
    sample = Sample.of_means([group for group, _ in pairs], [float(better) for _, better in pairs])
    return {**bootstrap(sample, **drawn).as_row(), "pairs": len(pairs)}
