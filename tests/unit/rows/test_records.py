import math
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.rows.records import (
    canonical_json,
    content_id,
    derive_seed,
    read_jsonl,
    read_table,
    round_score,
    unit_interval,
    write_jsonl,
    zip_rows,
)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "where", "cause"),
    [
        (b'{"a": 1}\n{"a": ', ":2", "cut off"),
        (b'{"a": 1}\n{"a": 2,}\n', ":2", "not valid JSON"),
        (b'{"a": 1}\n\n{"a": "\xff"}\n', ":3", "invalid UTF-8 at byte 8"),
        (b"[1, 2]\n", ":1", "expected a JSON object, found list"),
        (b'{"a": NaN}\n', ":1", "NaN is not JSON"),
        (b'{"a": 1, "a": 2}\n', ":1", "'a' occurs twice"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: bytes, where: str, cause: str) -> None:
    path = write(tmp_path / "rows.jsonl", content)
    with pytest.raises(FinetrailError, match=cause) as caught:
        list(read_jsonl(path))
    assert str(caught.value).startswith(f"{path}{where}: ")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FinetrailError, match="cannot be read"):
        list(read_jsonl(tmp_path / "none.jsonl"))


def test_a_byte_order_mark_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": 2}')
    assert [(line.number, line.row) for line in read_jsonl(path)] == [(1, {"a": 1}), (3, {"a": 2})]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"b": "ü\u2028\n", "a": [1.5, None, True]}, {"z": {"y": "🙂"}}]
    path = tmp_path / "rows.jsonl"
    assert write_jsonl(path, rows) == 2
    assert [line.row for line in read_jsonl(path)] == rows
    assert path.read_bytes().count(b"\n") == 2


def test_a_row_may_not_hold_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_jsonl(tmp_path / "rows.jsonl", [{"a": math.nan}])


def test_a_table_refuses_double_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", b'{"id": "x"}\n{"id": "x"}\n')
    with pytest.raises(FinetrailError, match=r"rows.jsonl:2: the id 'x' occurs twice"):
        read_table(path)


@pytest.mark.parametrize("other", [b'{"id": "x"}\n', b'{"id": "x"}\n{"id": "z"}\n'])
def test_files_that_differ_cannot_be_zipped(tmp_path: Path, other: bytes) -> None:
    left = write(tmp_path / "left.jsonl", b'{"id": "x"}\n{"id": "y"}\n')
    with pytest.raises(FinetrailError, match="row 2 differs"):
        list(zip_rows(left, write(tmp_path / "right.jsonl", other)))


def test_derived_values_are_the_same_everywhere() -> None:
    assert content_id("record", "a", "b") == "record-0473ef2dc0d324ab"
    assert derive_seed("x", 1) == 1918068375
    assert content_id("record", "a", "b") != content_id("record", "ab")
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'
    assert unit_interval("x") == pytest.approx(0.80233634546571, abs=1e-14)


def test_scores_are_rounded_and_minus_zero_is_zero() -> None:
    assert round_score(0.12345649) == 0.123456
    assert str(round_score(-1e-9)) == "0.0"
    with pytest.raises(ValueError, match="finite"):
        round_score(math.inf)


def test_a_line_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", b"{}\n" + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n")
    with pytest.raises(FinetrailError, match=r"rows\.jsonl:2: nested too deeply"):
        list(read_jsonl(path))
