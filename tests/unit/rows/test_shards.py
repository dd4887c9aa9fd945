"""Shards share rows out by their ids, and put them together in the order of the input."""

import argparse
from pathlib import Path

import pytest

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, read_rows, write_jsonl
from finetrail.rows.shards import Shard, merge_rows, shard_of

IDS = [f"row-{number}" for number in range(60)]
ORDER: list[Row] = [{"id": name} for name in IDS]


def deal(folder: Path, rows: list[Row], count: int, key: str = "id") -> dict[int, Path]:
    """Write each shard's rows to its file, in the order given."""
    parts = {index: folder / f"{index}-of-{count}.jsonl" for index in range(1, count + 1)}
    for index, path in parts.items():
        write_jsonl(path, [row for row in rows if Shard(index, count).holds(row[key])])
    return parts


def test_every_row_is_in_exactly_one_shard_and_each_shard_has_some() -> None:
    for count in (1, 2, 3, 7):
        shards = [[name for name in IDS if Shard(index, count).holds(name)] for index in range(1, count + 1)]
        assert sorted(name for shard in shards for name in shard) == sorted(IDS)
        assert all(shards)


def test_a_rows_shard_follows_from_its_id_alone() -> None:
    """Pinned: another hash would move rows between shards of a run that was interrupted."""
    assert [shard_of(name, 3) for name in ("s1:1", "s1:2", "ä", "")] == [3, 2, 2, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_merged_rows_stand_in_the_order_of_the_input(tmp_path: Path, count: int) -> None:
    rows = [row | {"value": number} for number, row in enumerate(ORDER)]
    assert list(merge_rows(ORDER, deal(tmp_path, rows, count))) == rows


def test_rows_that_the_step_left_out_or_multiplied_keep_their_order(tmp_path: Path) -> None:
    """Several rows of one input row, and none of others, as answer versions have it."""
    rows = [
        {"id": f"{name}#{version}", "record_id": name}
        for number, name in enumerate(IDS)
        for version in range(number % 4)
    ]
    assert list(merge_rows(ORDER, deal(tmp_path, rows, 3, "record_id"), "record_id")) == rows


def test_shards_of_which_some_are_empty(tmp_path: Path) -> None:
    assert list(merge_rows(ORDER, deal(tmp_path, ORDER[:1], 5))) == ORDER[:1]


def fault_in(tmp_path: Path, rows: list[Row]) -> str:
    parts = deal(tmp_path, rows, 2)
    with pytest.raises(FinetrailError) as caught:
        list(merge_rows(ORDER, parts))
    return str(caught.value)


def test_a_doubled_row_is_named(tmp_path: Path) -> None:
    beside = fault_in(tmp_path, [*ORDER[:4], ORDER[3], *ORDER[4:]])
    assert "(row-3): the row occurs twice" in beside and f"{shard_of('row-3', 2)}-of-2.jsonl:" in beside
    assert "(row-3): the row occurs twice, or" in fault_in(tmp_path, [*ORDER, ORDER[3]])


def test_a_row_of_no_input_row_is_named(tmp_path: Path) -> None:
    assert "(stranger)" in fault_in(tmp_path, [*ORDER, {"id": "stranger"}])


def test_a_row_out_of_order_is_named(tmp_path: Path) -> None:
    first = next(row for row in ORDER if Shard(1, 2).holds(row["id"]))
    others = [row for row in ORDER if row != first]
    assert f"({first['id']})" in fault_in(tmp_path, [*others, first])


def test_a_row_in_another_shards_file_is_named(tmp_path: Path) -> None:
    parts = deal(tmp_path, ORDER, 2)
    moved = list(read_rows(parts[1]))
    write_jsonl(parts[1], moved[1:])
    write_jsonl(parts[2], [moved[0], *read_rows(parts[2])])
    with pytest.raises(FinetrailError) as caught:
        list(merge_rows(ORDER, parts))
    assert f"2-of-2.jsonl:1 ({moved[0]['id']})" in str(caught.value)


def test_a_shard_is_written_as_two_numbers() -> None:
    assert Shard.parse("2/3") == Shard(2, 3)
    assert str(Shard(2, 3)) == "2/3"


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "-1/3", "a/b", "1/0", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        Shard.parse(text)
