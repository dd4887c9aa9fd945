"""Rows whose image is shown in place of the right one."""

from collections.abc import Sequence

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
