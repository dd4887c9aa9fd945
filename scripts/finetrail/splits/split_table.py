"""What was assigned to which split: rows of splits.jsonl, held compactly, and the proof that no group straddles."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row

WITHHELD = "withheld"


def place_of(row: Row) -> str:
    """Name where a row of splits belongs: its split, below its fold where there are several."""
    return f"{row['fold']}/{row['split']}" if "fold" in row else str(row["split"])


class Assigned:
    """Rows of splits.jsonl by the ids of their records; a million take about a quarter of a gigabyte.

    Args:
        rows: they are gone through once.

    Attributes:
        withheld: record id → why no split has it.
        near: record id → the record whose text is nearest to its own.

    Raises:
        FinetrailError: an id occurs twice.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._numbers: dict[str, int] = {}
        self._places: dict[tuple[str | None, str], int] = {}
        self._place = array("H")
        self._group = array("L")
        self.withheld: dict[str, str] = {}
        self.near: dict[str, str] = {}
        groups: dict[str, int] = {}
        for row in rows:
            row_id = row["id"]
            if row_id in self._numbers:
                raise FinetrailError(f"the id {row_id!r} occurs twice among the splits")
            self._numbers[row_id] = len(self._numbers)
            self._place.append(self._places.setdefault((row.get("fold"), row["split"]), len(self._places)))
            self._group.append(groups.setdefault(row["group"], len(groups)))
            if row["split"] == WITHHELD:
                self.withheld[row_id] = row["reason"]
            if "near" in row:
                self.near[row_id] = row["near"]["id"]
        self._homes = list(self._places)
        self._groups = list(groups)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        """Yield the ids, in the order of the rows."""
        return iter(self._numbers)

    def __contains__(self, row_id: object) -> bool:
        return row_id in self._numbers

    def number(self, row_id: str) -> int:
        """Return the place of a record among the rows.

        Raises:
            FinetrailError: the record has no split.
        """
        try:
            return self._numbers[row_id]
        except KeyError:
            raise FinetrailError("the record has no split", where=row_id) from None

    def group(self, row_id: str) -> str:
        """Return the group of a record."""
        return self._groups[self._group[self.number(row_id)]]

    def home(self, row_id: str) -> tuple[str | None, str]:
        """Return the fold, None where there is one only, and the split of a record."""
        return self._homes[self._place[self.number(row_id)]]

    def place(self, row_id: str) -> str:
        """Name where a record belongs, as `place_of` does."""
        fold, split = self.home(row_id)
        return f"{fold}/{split}" if fold is not None else split

    def counts(self) -> Counter[str]:
        """Count the records of each place."""
        return Counter(self.place(row_id) for row_id in self)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self._groups)


def _keys(row: Row) -> list[str]:
    return [f"{name}={value}" for name, value in row["group_keys"].items() if value is not None]


def prove_disjoint(rows: Iterable[Row], assigned: Assigned, *, allowed: bool = False) -> Row:
    """Check over the records themselves that no value of a group key occurs in two splits (or folds).

    This looks at every key value on its own and does not rely on how the groups were found. Near-duplicates are looked
    at by the pairs that were found. Withheld records are in no split.

    Args:
        rows: the records.
        assigned: their rows of splits.jsonl.
        allowed: count what straddles, and let it be: a shuffle of single records was asked for.

    Returns:
        What was checked: ``{"rows": {split: n}, "shares": {split: share}, "groups": n, "key_values": n,
        "near_duplicates": pairs, "withheld": n, "straddling": records in another split than the first one of their
        group}``.

    Raises:
        FinetrailError: a record has no split, a split row has no record, or a value or group straddles.
    """
    homes: dict[str, str] = {}
    straddling: dict[str, str] = {}
    seen = 0
    for row in rows:
        row_id: str = row["id"]
        place = assigned.place(row_id)
        seen += 1
        if place == WITHHELD:
            continue
        for key in [*_keys(row), f"group={assigned.group(row_id)}"]:
            if homes.setdefault(key, place) != place:
                straddling.setdefault(row_id, f"{key} is in {homes[key]} and in {place}")
        alike = assigned.near.get(row_id, row_id)
        if assigned.place(alike) not in (place, WITHHELD):
            straddling.setdefault(row_id, f"its near-duplicate {alike} is in {assigned.place(alike)}, it is in {place}")
    if straddling and not allowed:
        shown = "; ".join(list(straddling.values())[:20])
        raise FinetrailError(f"{len(straddling)} records straddle splits: {shown}")
    if seen != len(assigned):
        raise FinetrailError(f"{len(assigned)} split rows do not match {seen} records one to one")
    counts = assigned.counts()
    return {
        "rows": dict(sorted(counts.items())),
        "shares": {split: round(count / seen, 6) for split, count in sorted(counts.items())},
        "groups": assigned.groups,
        "key_values": sum(not key.startswith("group=") for key in homes),
        "near_duplicates": len(assigned.near),
        "withheld": counts[WITHHELD],
        "straddling": len(straddling),
    }
