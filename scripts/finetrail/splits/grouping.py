"""Join records into groups that no split divides: by shared keys, and by near-equal texts.

Records that share a value of any group key (a session, an image), or whose texts are near-duplicates, belong together:
trained on one and tested on the other, a model would be asked what it was told. Whoever was given a place by an earlier
assignment keeps it; a new record that would join groups of two places is withheld instead.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, content_id
from finetrail.splits.overlap.near_duplicates import Match, NearTexts


class Edge(NamedTuple):
    """What holds most rows of a group together."""

    name: str
    rows: int


class UnionFind:
    """Disjoint sets of numbers, with path halving and union by size."""

    def __init__(self) -> None:
        self._parent = array("q")
        self._size = array("q")

    def new(self) -> int:
        """Add a number in a set of its own and return it."""
        self._parent.append(len(self._parent))
        self._size.append(1)
        return len(self._parent) - 1

    def find(self, item: int) -> int:
        """Return the number that stands for the item's set."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def union(self, left: int, right: int) -> tuple[int, int]:
        """Join the sets of two numbers; return who stands for the joined set, and who no longer stands for its own."""
        first, second = self.find(left), self.find(right)
        if self._size[first] < self._size[second]:
            first, second = second, first
        if first != second:
            self._parent[second] = first
            self._size[first] += self._size[second]
        return first, second


class Grouping:
    """Groups of rows, taken in one by one.

    Args:
        near: the texts of the rows, in the same order; None where texts join nothing.
        previous: record id → place (a split, or ``fold/split``) that an earlier assignment gave it.
    """

    def __init__(self, near: NearTexts | None = None, previous: Mapping[str, str] | None = None) -> None:
        self._near = near
        self._previous = previous or {}
        self._sets = UnionFind()
        self._keys: dict[str, int] = {}
        self._key_rows: dict[str, int] = {}
        self._nodes: dict[str, int] = {}
        self._ids: list[str] = []
        self._names: dict[int, str] = {}
        self._places: dict[int, str] = {}
        self.near: dict[str, tuple[str, float]] = {}
        self.withheld: dict[str, str] = {}

    def add(self, row_id: str, keys: Mapping[str, str | None], candidates: Iterable[int] = ()) -> None:
        """Take a row in.

        Args:
            row_id: its id; rows with a place in the previous assignment come before all others.
            keys: name → value; equal values under equal names join, null values join nothing.
            candidates: places of earlier rows whose texts may be near-duplicates of its own.

        Raises:
            FinetrailError: the id occurs twice, or the previous assignment divides what belongs together.
        """
        if row_id in self._nodes:
            raise FinetrailError("the id occurs twice", where=row_id)
        named = _named(keys)
        links = {key: self._sets.find(self._keys[key]) for key in named if key in self._keys}
        links |= self._near_links(row_id, set(links.values()), candidates)
        self._nodes[row_id] = node = self._sets.new()
        self._ids.append(row_id)
        self._names[node] = min(named, default=f"id={row_id}")
        if row_id in self._previous:
            self._places[node] = self._previous[row_id]
        if self._is_apart(row_id, links):
            return
        for key in named:
            if key not in self._keys:
                self._keys[key] = node
            self._key_rows[key] = self._key_rows.get(key, 0) + 1
        for root in set(links.values()):
            self._join(node, root)

    def _near_links(self, row_id: str, joined: set[int], candidates: Iterable[int]) -> dict[str, int]:
        """Compare a row with the candidates that are in none of its groups yet; its best match is remembered."""
        links: dict[str, int] = {}
        place = len(self._ids)
        best: Match | None = None
        for other in candidates:
            root = self._sets.find(self._nodes[self._ids[other]])
            if self._near is None or root in joined or self._ids[other] in self.withheld:
                continue
            match = self._near.match(place, other)
            if match is not None:
                joined.add(root)
                links[f"near-duplicate of {self._ids[other]} (Jaccard {match.similarity:.3f})"] = root
                best = max(best or match, match, key=lambda found: (found.similarity, -found.place))
        if best is not None:
            self.near[row_id] = (self._ids[best.place], round(best.similarity, 6))
        return links

    def _is_apart(self, row_id: str, links: Mapping[str, int]) -> bool:
        """Say whether a row is withheld, since it would join groups of several places."""
        places = {link: self._places[root] for link, root in links.items() if root in self._places}
        own = {"itself": self._previous[row_id]} if row_id in self._previous else {}
        if len({*places.values(), *own.values()}) < 2:
            return False
        bridge = "; ".join(f"{link} is in {place}" for link, place in {**own, **places}.items())
        if own:
            raise FinetrailError(
                f"the previous assignment divides what belongs together: {bridge}",
                where=row_id,
                hint="It was made with other group keys, or by another method: assign anew without splits.previous",
            )
        self.withheld[row_id] = f"it would join what was assigned to different places: {bridge}"
        self._names[self._nodes[row_id]] = f"id={row_id}"  # its keys name the groups that it did not join
        self.near.pop(row_id, None)
        return True

    def _join(self, node: int, root: int) -> None:
        first, second = self._sets.union(node, root)
        if first != second:
            self._names[first] = min(self._names[first], self._names.pop(second))
            if second in self._places:
                self._places[first] = self._places.pop(second)

    def forget_texts(self) -> None:
        """Give back the memory of the texts when all rows are in."""
        self._near = None

    def groups(self) -> dict[str, str]:
        """Return record id → group id, in the order of the rows, withheld ones too.

        A group is named after its smallest key, so that its id depends on no order.
        """
        ids: dict[int, str] = {}
        found: dict[str, str] = {}
        for row_id, node in self._nodes.items():
            root = self._sets.find(node)
            if root not in ids:
                ids[root] = content_id("group", self._names[root])
            found[row_id] = ids[root]
        return found

    def check_sizes(self, largest: float) -> None:
        """Check that no group has more than a share of the rows.

        Raises:
            FinetrailError: one has; it names the key that most of its rows share.
        """
        sizes: dict[int, int] = {}
        for node in self._nodes.values():
            root = self._sets.find(node)
            sizes[root] = sizes.get(root, 0) + 1
        if not sizes:
            return
        root = min(sizes, key=lambda name: (-sizes[name], self._names[name]))
        if sizes[root] <= largest * len(self._nodes):
            return
        if sizes[root] == 1:
            raise FinetrailError(
                f"there are {len(self._nodes)} rows, too few: one alone is {1 / len(self._nodes):.1%} of them",
                where="splits",
                hint=f"Add records, or raise splits.largest_group above {largest:g}, to see the chain run",
            )
        edge = self._largest_edge(root)
        raise FinetrailError(
            f"one group holds {sizes[root]} of {len(self._nodes)} rows, {sizes[root] / len(self._nodes):.1%}; its "
            f"largest edge is {edge.name}, which joins {edge.rows} rows",
            where="splits",
            hint=f"No split near its share can hold it: mend that value (null joins nothing), leave its key out of "
            f"splits.group_by, or raise splits.largest_group above {largest:g}",
        )

    def _largest_edge(self, root: int) -> Edge:
        edges = [Edge(key, self._key_rows[key]) for key, node in self._keys.items() if self._sets.find(node) == root]
        alike = [name for name in self.near if self._sets.find(self._nodes[name]) == root]
        if alike:
            example = f"{alike[0]} and {self.near[alike[0]][0]}"
            edges.append(Edge(f"near-duplicate texts (such as {example})", len(alike) + 1))
        return max(edges, key=lambda edge: (edge.rows, edge.name))


def chosen_keys(row: Row, names: Sequence[str]) -> dict[str, str | None]:
    """Return the group keys that hold records together.

    Raises:
        FinetrailError: the record has no such key; without it, records that belong together would be divided.
    """
    known: dict[str, str | None] = row["group_keys"]
    if unknown := [name for name in names if name not in known]:
        raise FinetrailError(
            f"the records have no group key {', '.join(unknown)}",
            where=f"splits.group_by ({row['id']})",
            hint=f"The reader gives: {', '.join(known)}",
        )
    return {name: known[name] for name in names}


def keyed(rows: Iterable[Row], names: Sequence[str]) -> Iterator[Row]:
    """Yield the id of each record, and of its group keys those that hold records together."""
    return ({"id": row["id"], "group_keys": chosen_keys(row, names)} for row in rows)


def _named(keys: Mapping[str, str | None]) -> list[str]:
    return [f"{name}={value}" for name, value in keys.items() if value is not None]


def group_rows(rows: Iterable[Row]) -> dict[str, str]:
    """Join rows into groups by the values of their ``group_keys`` and return record id → group id.

    A row shares a group with every row that has an equal value under an equal key, and with whatever
    those rows are joined to. Null values join nothing; a row without values is a group of its own.
    The order of the result is that of the rows; the group ids do not depend on it.

    Raises:
        FinetrailError: an id occurs twice.
    """
    grouping = Grouping()
    for row in rows:
        grouping.add(row["id"], row["group_keys"])
    return grouping.groups()
