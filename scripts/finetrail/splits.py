"""Give every record its split, whole groups at a time, before anything is synthesised.

Records that share a value of any group key (a session, an image) belong together: trained on one and tested
on the other, a model would be asked what it was told.
"""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from finetrail.errors import FinetrailError
from finetrail.records import Row, content_id, derive_seed, unit_interval

TOLERANCE = 1e-9

Draw = Callable[[Mapping[str, str], Mapping[str, float], int], list[Row]]


class UnionFind:
    """Disjoint sets of texts, with path halving; the smallest member names its set."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, item: str) -> str:
        """Return the name of the item's set; an unknown item becomes a set of its own."""
        parent = self._parent
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def union(self, left: str, right: str) -> None:
        """Join the sets of two items."""
        first, second = sorted((self.find(left), self.find(right)))
        self._parent[second] = first


def group_rows(rows: Iterable[Row]) -> dict[str, str]:
    """Join rows into groups by the values of their ``group_keys`` and return record id → group id.

    A row shares a group with every row that has an equal value under an equal key, and with whatever
    those rows are joined to. Null values join nothing; a row without values is a group of its own.
    The order of the result is that of the rows; the group ids do not depend on it.

    Raises:
        FinetrailError: an id occurs twice.
    """
    sets = UnionFind()
    first_key: dict[str, str] = {}
    for row in rows:
        keys = _keys(row) or [f"id={row['id']}"]
        if row["id"] in first_key:
            raise FinetrailError("the id occurs twice", where=row["id"])
        first_key[row["id"]] = keys[0]
        for key in keys:
            sets.union(keys[0], key)
    return {row_id: content_id("group", sets.find(key)) for row_id, key in first_key.items()}


def _keys(row: Row) -> list[str]:
    return [f"{name}={value}" for name, value in row["group_keys"].items() if value is not None]


def assign(groups: Mapping[str, str], shares: Mapping[str, float], seed: int) -> list[Row]:
    """Assign whole groups to splits by a hash of (seed, group id): a new record never moves an old group.

    The hash is a number in [0, 1); each split owns a stretch of it as long as its share. With few groups the row
    counts miss the shares; another seed gives another draw. A split that gets none (a pilot of a few groups) takes
    the group whose number is nearest to its stretch.

    Args:
        groups: record id → group id, as `group_rows` returns it.
        shares: split → share above 0; they add up to 1.
        seed: another seed draws anew.

    Returns:
        Rows ``{"id", "group", "split", "reason"}`` in the order of `groups`.

    Raises:
        FinetrailError: the shares are wrong, or there are fewer groups than splits.
    """
    _check_shares(shares)
    ends = list(accumulate(shares.values()))
    names = list(shares)
    places = {group: unit_interval("split", seed, group) for group in dict.fromkeys(groups.values())}
    numbers = {group: min(bisect_right(ends, place), len(ends) - 1) for group, place in places.items()}
    reasons = {
        group: f"hash {places[group]:.4f} of the group lies in {_stretch(ends, number)}"
        for group, number in numbers.items()
    }
    for number in range(len(names)):
        if number not in numbers.values():
            group = _nearest_spare(number, ends, places, numbers)
            numbers[group] = number
            reasons[group] = (
                f"no group fell into {_stretch(ends, number)}: hash {places[group]:.4f} is the nearest to it"
            )
    return [
        {"id": row_id, "group": group, "split": names[numbers[group]], "reason": reasons[group]}
        for row_id, group in groups.items()
    ]


def assign_shuffled(groups: Mapping[str, str], shares: Mapping[str, float], seed: int) -> list[Row]:
    """Assign single records by a seeded shuffle, in exact numbers: groups may straddle splits.

    It is the draw of ``random.seed(seed); random.shuffle(lines)`` with a cut at ``int(len(lines) * share)``: the first
    split gets the first lines, and the last one what is left.

    Args:
        groups: record id → group id, in the order of the records.
        shares: split → share above 0; they add up to 1.
        seed: of the shuffle.

    Returns:
        Rows as those of `assign`, in the order of `groups`.
    """
    _check_shares(shares)
    order = list(groups)
    random.Random(seed).shuffle(order)
    ends = [int(len(order) * end + TOLERANCE) for end in accumulate(shares.values())]
    ends[-1] = len(order)
    names = list(shares)
    places = {row_id: place for place, row_id in enumerate(order)}
    return [
        {
            "id": row_id,
            "group": group,
            "split": names[bisect_right(ends, places[row_id])],
            "reason": f"place {places[row_id]} of {len(order)} after the shuffle",
        }
        for row_id, group in groups.items()
    ]


def assign_folds(
    groups: Mapping[str, str],
    folds: Mapping[str, float],
    shares: Mapping[str, float],
    seed: int,
    draw: Draw,
) -> list[Row]:
    """Give every record to one of several folds, and within its fold to train or dev.

    What is trained on one fold is tested on the original records of the others, so there is no other test split.

    Args:
        groups: record id → group id, in the order of the records.
        folds: fold → share above 0; they add up to 1.
        shares: share above 0 of train and, where there is one, of dev; they add up to 1.
        seed: of both draws.
        draw: `assign` or `assign_shuffled`.

    Returns:
        Rows ``{"id", "group", "split", "reason", "fold"}`` in the order of `groups`.
    """
    homes = {row["id"]: row for row in draw(groups, folds, seed)}
    rows: dict[str, Row] = {}
    for fold in folds:
        members = {row_id: group for row_id, group in groups.items() if homes[row_id]["split"] == fold}
        for row in draw(members, shares, derive_seed("within the folds", seed)):
            reason = f"{fold}: {homes[row['id']]['reason']}; {row['split']}: {row['reason']}"
            rows[row["id"]] = {**row, "reason": reason, "fold": fold}
    return [rows[row_id] for row_id in groups]


def _nearest_spare(number: int, ends: Sequence[float], places: Mapping[str, float], numbers: Mapping[str, int]) -> str:
    """Find the group nearest to a split's empty stretch among those that their own split can spare."""
    members = Counter(numbers.values())
    spare = [group for group in numbers if members[numbers[group]] > 1]
    if not spare:
        raise FinetrailError(
            f"there are {len(numbers)} groups for {len(ends)} splits",
            hint="A group (records that share a session or an image) is never divided: add records",
        )
    start, end = ends[number - 1] if number else 0.0, ends[number]
    return min(spare, key=lambda group: (max(start - places[group], places[group] - end), group))


def _stretch(ends: Sequence[float], number: int) -> str:
    start = ends[number - 1] if number else 0.0
    return f"[{start:.4g}, {ends[number]:.4g})"


def _check_shares(shares: Mapping[str, float]) -> None:
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > TOLERANCE:
        listed = ", ".join(f"{split} {share}" for split, share in shares.items())
        raise FinetrailError(f"the shares must be above 0 and add up to 1, found {listed or 'none'}")


def place_of(row: Row) -> str:
    """Name where a row of splits belongs: its split, below its fold where there are several."""
    return f"{row['fold']}/{row['split']}" if "fold" in row else str(row["split"])


def prove_disjoint(rows: Iterable[Row], splits: Sequence[Row], *, allowed: bool = False) -> Row:
    """Check over the records themselves that no value of a group key occurs in two splits (or folds).

    This looks at every key value on its own and does not rely on how the groups were found.

    Args:
        rows: the records.
        splits: their rows of `assign`, `assign_shuffled` or `assign_folds`.
        allowed: count what straddles, and let it be: a shuffle of single records was asked for.

    Returns:
        What was checked: ``{"rows": {split: n}, "shares": {split: share}, "groups": n, "key_values": n,
        "straddling": records in another split than the first one of their group}``.

    Raises:
        FinetrailError: a record has no split, a split row has no record, or a value or group straddles.
    """
    assigned = {row["id"]: row for row in splits}
    homes: dict[str, str] = {}
    straddling: dict[str, str] = {}
    seen = 0
    for row in rows:
        if row["id"] not in assigned:
            raise FinetrailError("the record has no split", where=row["id"])
        seen += 1
        place = place_of(assigned[row["id"]])
        for key in [*_keys(row), f"group={assigned[row['id']]['group']}"]:
            if homes.setdefault(key, place) != place:
                straddling.setdefault(row["id"], f"{key} is in {homes[key]} and in {place}")
    if straddling and not allowed:
        shown = "; ".join(list(straddling.values())[:20])
        raise FinetrailError(f"{len(straddling)} records straddle splits: {shown}")
    if seen != len(assigned) or len(assigned) != len(splits):
        raise FinetrailError(f"{len(splits)} split rows do not match {seen} records one to one")
    counts = Counter(map(place_of, splits))
    return {
        "rows": dict(sorted(counts.items())),
        "shares": {split: round(count / seen, 6) for split, count in sorted(counts.items())},
        "groups": len({row["group"] for row in splits}),
        "key_values": sum(not key.startswith("group=") for key in homes),
        "straddling": len(straddling),
    }
