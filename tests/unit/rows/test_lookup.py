"""Rows by their ids and places, without holding them."""

from pathlib import Path

import pytest

from finetrail.rows.records import write_jsonl
from finetrail.rows.row_file import RowFile, place_without


@pytest.mark.parametrize("left_out", [[], [0], [1, 2], [4, 0, 2], [0, 1, 2, 3]])
def test_places_are_counted_without_some(left_out: list[int]) -> None:
    kept = [place for place in range(6) if place not in left_out]
    assert [place_without(number, left_out) for number in range(len(kept))] == kept


def test_ids_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", [{"id": name} for name in "cab"])
    with RowFile(tmp_path / "rows.jsonl") as rows:
        assert list(rows.names()) == ["c", "a", "b"]
        assert rows["a"] == {"id": "a"} and "d" not in rows
