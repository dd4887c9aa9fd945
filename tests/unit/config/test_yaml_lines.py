from pathlib import Path
from typing import Any

import pytest

from finetrail.config.yaml_lines import load_yaml, parse_yaml, read_yaml
from finetrail.errors import FinetrailError


def problems(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.text) for problem in parse_yaml(text, "x.yaml").problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5e-5", 5e-5),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2.5e+3", -2500.0),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0", 0),
        ("-7", -7),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("'5e-5'", "5e-5"),
        ("=", "="),
    ],
)
def test_plain_values(written: str, value: Any) -> None:
    found = parse_yaml(f"key: {written}", "x.yaml").tree["key"]
    assert found == value
    assert type(found) is type(value)


def test_every_key_and_value_has_its_line() -> None:
    document = parse_yaml("a: 1\nb:\n  c:\n    - x\n    - y\n  d:\n    2\n", "x.yaml")
    assert document.tree == {"a": 1, "b": {"c": ["x", "y"], "d": 2}}
    lines = {path: (place.line, place.value_line) for path, place in document.places.items()}
    assert lines == {
        (): (1, 1),
        ("a",): (1, 1),
        ("b",): (2, 3),
        ("b", "c"): (3, 4),
        ("b", "c", 0): (4, 4),
        ("b", "c", 1): (5, 5),
        ("b", "d"): (6, 7),
    }


def test_duplicate_keys_are_reported_with_both_lines_and_all_of_them() -> None:
    found = problems("a: 1\nb: {x: 1, x: 2}\nc: 3\na: 4\n")
    assert found == [
        (4, "the key `a` stands here and on line 1"),
        (2, "the key `x` stands here and on line 2"),
    ]


def test_merge_keys_are_no_duplicates() -> None:
    document = parse_yaml("base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  a: 3\n", "x.yaml")
    assert document.tree["mine"] == {"a": 3, "b": 2}
    assert document.problems == []


@pytest.mark.parametrize(
    ("key", "kind"), [("no", "true or false"), ("on", "true or false"), ("12", "a number"), ("~", "nothing")]
)
def test_keys_that_are_no_text_are_named(key: str, kind: str) -> None:
    assert problems(f"a: 1\n{key}: 2\n") == [(2, f"the key `{key}` is read by YAML as {kind}, not as text")]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("- a\n- b\n", 1, "expected a mapping of keys to values, found a list"),
        ("words\n", 1, "found a single value"),
        ("a:\n\tb: 1\n", 2, "not valid YAML"),
        ("a: 1\nb: [1, 2\n", 3, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: *nowhere\n", 2, "undefined alias"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "is not allowed"),
        ("a: 1\nb: &b [*b]\n", 2, "an alias refers to a value that it is part of"),
        ("a: 1\nb: \x07\n", 2, "is not allowed in YAML"),
        ("a: 1\nb: !!int x\n", 2, "cannot read 'x' as int"),
    ],
)
def test_bad_files(text: str, line: int, part: str) -> None:
    found = problems(text)
    assert len(found) == 1
    assert found[0][0] == line
    assert part in found[0][1]


def test_a_tab_is_named_in_the_hint() -> None:
    assert "spaces" in (parse_yaml("a:\n\tb: 1\n", "x.yaml").problems[0].hint or "")


def test_invalid_utf8_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    assert [problem.where for problem in load_yaml(path, "x.yaml").problems] == ["x.yaml:2"]
    with pytest.raises(FinetrailError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path) == {"a": 1}
