"""Draws by a seeded shuffle, in exact numbers: of single records, or of whole groups as near as their sizes allow."""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row
from finetrail.splits.assign import Draw, check_shares

# Below so many rows the best sum of group sizes is searched among all sums; above, after a greedy start.
WINDOW = 1 << 16


def shuffle_rows(strata: Mapping[str, str] | None = None) -> Draw:
    """Make the draw of single records: groups are ignored and may straddle.

    It is that of ``random.seed(seed); random.shuffle(lines)`` with a cut at ``round(len(lines) * share)``: the first
    split gets the first lines, and the last one what is left.

    Args:
        strata: record id → stratum, each of which is shuffled and cut by itself; the totals stay exact.
    """
    return partial(_draw, strata=strata or {}, grouped=False)


def shuffle_groups(strata: Mapping[str, str] | None = None) -> Draw:
    """Make the draw of whole groups: each split gets the number of rows nearest to its share that groups add up to.

    Args:
        strata: record id → stratum; a group belongs to the one that most of its records have.
    """
    return partial(_draw, strata=strata or {}, grouped=True)


def _draw(
    groups: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
    previous: Mapping[str, str],
    *,
    strata: Mapping[str, str],
    grouped: bool,
) -> list[Row]:
    check_shares(shares)
    if previous:
        raise FinetrailError("a shuffle moves every record", where="splits.previous", hint="Use splits.method: hash")
    members = _strata_of(groups, strata, grouped=grouped)
    counts = targets({name: len(ids) for name, ids in members.items()}, list(shares.values()))
    rows: dict[str, Row] = {}
    for name, ids in members.items():
        order = list(ids)
        placed = _place_groups(order, groups, counts[name], seed) if grouped else _place_rows(order, counts[name], seed)
        within = f" of {name}" if strata else ""
        for row_id, (number, reason) in placed.items():
            split = list(shares)[number]
            rows[row_id] = {"id": row_id, "group": groups[row_id], "split": split, "reason": reason + within}
    return [rows[row_id] for row_id in groups]


def _strata_of(groups: Mapping[str, str], strata: Mapping[str, str], *, grouped: bool) -> dict[str, list[str]]:
    """Return stratum → its records, in their order; one stratum where there are none."""
    home = {row_id: strata.get(row_id, "") for row_id in groups}
    if grouped and strata:
        votes: dict[str, Counter[str]] = {}
        for row_id, group in groups.items():
            votes.setdefault(group, Counter())[home[row_id]] += 1
        elected = {group: min(found, key=lambda name: (-found[name], name)) for group, found in votes.items()}
        home = {row_id: elected[group] for row_id, group in groups.items()}
    members: dict[str, list[str]] = {}
    for row_id, name in home.items():
        members.setdefault(name, []).append(row_id)
    return members


def targets(sizes: Mapping[str, int], shares: Sequence[float]) -> dict[str, list[int]]:
    """Return how many rows of each stratum each split gets, so that the totals are those of one shuffle of all rows.

    The cut after share s lies at ``round(n * s)``; each stratum gets its part rounded down, and those with the largest
    remainders one row more (Hamilton's method), but never so that a cut would lie before the one before it.
    """
    total = sum(sizes.values())
    cuts = [dict.fromkeys(sizes, 0)]
    for end in list(accumulate(shares))[:-1]:
        exact = {name: round(size * end, 9) for name, size in sizes.items()}
        reached = {name: max(int(exact[name]), cuts[-1][name]) for name in sizes}
        spare = round(round(total * end, 9)) - sum(reached.values())
        while spare:
            step = 1 if spare > 0 else -1
            limits = sizes if spare > 0 else cuts[-1]
            free = [name for name in sizes if reached[name] != limits[name]]
            for name in sorted(free, key=lambda name: (step * (reached[name] - exact[name]), name))[: abs(spare)]:
                reached[name] += step
                spare -= step
        cuts.append(reached)
    cuts.append(dict(sizes))
    return {name: [after[name] - before[name] for before, after in pairwise(cuts)] for name in sizes}


def _place_rows(order: list[str], counts: Sequence[int], seed: int) -> dict[str, tuple[int, str]]:
    random.Random(seed).shuffle(order)
    ends = list(accumulate(counts))
    return {
        row_id: (bisect_right(ends, place), f"place {place} of {len(order)} after the shuffle")
        for place, row_id in enumerate(order)
    }


def _place_groups(
    order: list[str], groups: Mapping[str, str], counts: Sequence[int], seed: int
) -> dict[str, tuple[int, str]]:
    """Give each split in turn, but the last, the groups that come nearest to its count."""
    sizes = Counter(groups[row_id] for row_id in order)
    left = list(dict.fromkeys(groups[row_id] for row_id in order))
    random.Random(seed).shuffle(left)
    home: dict[str, tuple[int, str]] = {}
    for number, count in enumerate(counts):
        last = number == len(counts) - 1
        chosen = set(left) if last else nearest_sum([(name, sizes[name]) for name in left], count)
        got = sum(sizes[name] for name in chosen)
        reason = f"its group is one of {len(chosen)} with {got} rows ({got - count:+d} to the share) after the shuffle"
        home |= dict.fromkeys(chosen, (number, reason))
        left = [name for name in left if name not in chosen]
    return {row_id: home[groups[row_id]] for row_id in order}


def nearest_sum(sizes: Sequence[tuple[str, int]], count: int) -> set[str]:
    """Choose groups whose sizes add up as near to a count as they can; of equal distances, to the smaller sum.

    Groups that come first are preferred: it stops as soon as the count is reached. Up to `WINDOW` rows all sums are
    looked at (subset sum by dynamic programming), so that no choice is nearer; above, the first groups are taken until
    so many rows are missing, and if no choice of the others is exact, it is the nearest one after this start.
    """
    import numpy as np

    taken: set[str] = set()
    missing = count
    start = 0
    while missing > WINDOW:
        name, size = sizes[start]
        taken.add(name)
        missing -= size
        start += 1
    if missing <= 0:
        return taken
    rest = sizes[start:]
    top = 2 * missing + 1
    by = np.full(top + 1, -1, dtype=np.int64)  # which group reached this sum first
    by[0] = len(rest)
    for number, (_, size) in enumerate(rest):
        if size <= top:
            fresh = np.flatnonzero((by[: top + 1 - size] >= 0) & (by[size:] < 0)) + size
            by[fresh] = number
        if by[missing] >= 0:
            break
    reached = np.flatnonzero(by >= 0)
    best = int(min(reached, key=lambda total: (abs(int(total) - missing), int(total))))
    while best:
        name, size = rest[int(by[best])]
        taken.add(name)
        best -= size
    return taken
