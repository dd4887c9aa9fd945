"""Give every record its split, whole groups at a time (`finetrail.splits.grouping`), before anything is synthesised."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, derive_seed, unit_interval

TOLERANCE = 1e-9

Draw = Callable[[Mapping[str, str], Mapping[str, float], int, Mapping[str, str]], list[Row]]


def assign(
    groups: Mapping[str, str], shares: Mapping[str, float], seed: int, previous: Mapping[str, str] | None = None
) -> list[Row]:
    """Assign whole groups to splits: as before, or else by a hash of (seed, group id).

    The hash is a number in [0, 1); each split owns a stretch of it as long as its share. With few groups the row
    counts miss the shares; another seed gives another draw. A split that gets none (a pilot of a few groups) takes
    the new group whose number is nearest to its stretch.

    Args:
        groups: record id → group id, as `finetrail.splits.grouping` gives it.
        shares: split → share above 0; they add up to 1.
        seed: another seed draws anew.
        previous: record id → split that an earlier assignment gave it; its whole group goes there.

    Returns:
        Rows ``{"id", "group", "split", "reason"}`` in the order of `groups`.

    Raises:
        FinetrailError: the shares are wrong, there are fewer groups than splits, or an earlier split has no share now.
    """
    check_shares(shares)
    ends = list(accumulate(shares.values()))
    names = list(shares)
    kept = _kept_places(groups, names, previous or {})
    drawn = dict.fromkeys(group for group in groups.values() if group not in kept)
    places = {group: unit_interval("split", seed, group) for group in drawn}
    numbers = {group: min(bisect_right(ends, place), len(ends) - 1) for group, place in places.items()}
    reasons = {
        group: f"hash {places[group]:.4f} of the group lies in {_stretch(ends, number)}"
        for group, number in numbers.items()
    }
    for number in range(len(names)):
        if number not in numbers.values() and number not in kept.values():
            group = _nearest_spare(number, ends, places, numbers)
            numbers[group] = number
            reasons[group] = (
                f"no group fell into {_stretch(ends, number)}: hash {places[group]:.4f} is the nearest to it"
            )
    numbers |= kept
    return [
        {
            "id": row_id,
            "group": group,
            "split": names[numbers[group]],
            "reason": reasons.get(group) or _why_kept(row_id, previous or {}),
        }
        for row_id, group in groups.items()
    ]


def _kept_places(groups: Mapping[str, str], names: Sequence[str], previous: Mapping[str, str]) -> dict[str, int]:
    """Return group → number of the split that an earlier assignment gave its records."""
    if unknown := sorted(set(previous.values()) - set(names)):
        raise FinetrailError(
            f"the previous assignment has {', '.join(unknown)}, and now there are {', '.join(names)} only",
            where="splits.previous",
            hint="Leave every split and fold its share and its name, or assign anew without splits.previous",
        )
    numbers = {name: number for number, name in enumerate(names)}
    return {group: numbers[previous[row_id]] for row_id, group in groups.items() if row_id in previous}


def _why_kept(row_id: str, previous: Mapping[str, str]) -> str:
    return "as in the previous assignment" if row_id in previous else "joins a group of the previous assignment"


def assign_folds(
    groups: Mapping[str, str],
    folds: Mapping[str, float],
    shares: Mapping[str, float],
    seed: int,
    draw: Draw,
    previous: Mapping[str, Row] | None = None,
) -> list[Row]:
    """Give every record to one of several folds, and within its fold to train or dev.

    What is trained on one fold is tested on the original records of the others, so there is no other test split.

    Args:
        groups: record id → group id, in the order of the records.
        folds: fold → share above 0; they add up to 1.
        shares: share above 0 of train and, where there is one, of dev; they add up to 1.
        seed: of both draws.
        draw: `assign`, or one of `finetrail.splits.shuffles`.
        previous: record id → its row of an earlier assignment.

    Returns:
        Rows ``{"id", "group", "split", "reason", "fold"}`` in the order of `groups`.
    """
    before = previous or {}
    homes = {row["id"]: row for row in draw(groups, folds, seed, {name: row["fold"] for name, row in before.items()})}
    rows: dict[str, Row] = {}
    for fold in folds:
        members = {row_id: group for row_id, group in groups.items() if homes[row_id]["split"] == fold}
        earlier = {name: row["split"] for name, row in before.items() if name in members}
        for row in draw(members, shares, derive_seed("within the folds", seed), earlier):
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


def check_shares(shares: Mapping[str, float]) -> None:
    """Check that shares are above 0 and add up to 1.

    Raises:
        FinetrailError: they do not.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > TOLERANCE:
        listed = ", ".join(f"{split} {share}" for split, share in shares.items())
        raise FinetrailError(f"the shares must be above 0 and add up to 1, found {listed or 'none'}")
