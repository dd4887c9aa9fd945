"""The draw by values of a field: a year that is held out, and shares of what is left."""

from collections.abc import Mapping, Sequence
from functools import partial

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row
from finetrail.splits.assign import Draw, assign


def hold_out(values: Mapping[str, str], held: Mapping[str, Sequence[str]], field: str) -> Draw:
    """Make the draw.

    Args:
        values: record id → its value.
        held: split → the values whose records it gets; a split without values takes a share of the others.
        field: name of the field, for the reasons.
    """
    places = {value: split for split, listed in held.items() for value in listed}
    return partial(_draw, values=values, places=places, field=field)


def _draw(
    groups: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
    previous: Mapping[str, str],
    *,
    values: Mapping[str, str],
    places: Mapping[str, str],
    field: str,
) -> list[Row]:
    """Place whole groups.

    Raises:
        FinetrailError: a group has values of two splits, a listed value occurs nowhere, or nothing is left to train on.
    """
    if absent := sorted(places.keys() - {values[row_id] for row_id in groups}):
        raise FinetrailError(f"no record has the {field} {', '.join(absent)}", where="splits.values")
    found: dict[str, str] = {}
    for row_id, group in groups.items():
        split = places.get(values[row_id], "")
        if found.setdefault(group, split) != split:
            raise FinetrailError(f"its group has records of several {field}s, which are divided", where=row_id)
    free = {row_id: group for row_id, group in groups.items() if not found[group]}
    left = {split: share for split, share in shares.items() if split not in places.values()}
    if not free or "train" not in left:
        raise FinetrailError("no record is left for train", where="splits.values")
    total = sum(left.values())
    drawn = assign(free, {split: share / total for split, share in left.items()}, seed)
    rows = {row["id"]: row for row in drawn}
    return [
        rows.get(row_id)
        or {"id": row_id, "group": group, "split": found[group], "reason": f"its {field} is {values[row_id]}"}
        for row_id, group in groups.items()
    ]
