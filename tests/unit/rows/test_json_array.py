import json
from pathlib import Path

import pytest

from finetrail.rows.json_array import listed_objects, read_objects
from finetrail.rows.problems import Problems
from finetrail.rows.records import Row


def read(path: Path) -> tuple[list[tuple[int, Row]], list[str]]:
    problems = Problems("rows")
    found = [(line.number, line.row) for line in read_objects(path, problems)]
    return found, problems._shown


def test_the_objects_of_a_list_are_counted(tmp_path: Path) -> None:
    rows = [{"a": "x]}{[,"}, {"b": [1, 2.5, {"c": None}]}, {"é": '\\"'}]
    path = tmp_path / "list.json"
    path.write_text("\ufeff[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
    found, said = read(path)
    assert found == [(number, row) for number, row in enumerate(rows, start=1)]
    assert said == []


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert read(path) == ([(1, {"a": 1}), (3, {"a": 2})], [])


@pytest.mark.parametrize(
    ("text", "kept", "said"),
    [
        (
            '[{"a": 1},\n {"a": 2}',
            2,
            ": not valid JSON behind entry 2: Expecting ',' delimiter: the list is cut off",
        ),
        ('[{"a": 1}\n {"a": 2}]', 1, ": not valid JSON behind entry 1: Expecting ',' delimiter"),
        ('[{"a": 1},\n {"a": }]', 1, ": not valid JSON behind entry 1: Expecting value"),
        ('[{"a": 1}, 7]', 1, ": entry 2: expected a JSON object, found int"),
        ('[{"a": 1}] x', 1, ": not valid JSON behind entry 1: Extra data"),
        ('[{"b": {"a": 1, "a": 2}}, {"a": 1}]', 1, ": entry 1: the key 'a' occurs twice in one object"),
        ('[{"a": NaN}]', 0, ": entry 1: not valid JSON: NaN is not JSON"),
        ('[{"a": [-Infinity]}, {"a": 1}]', 1, ": entry 1: not valid JSON: -Infinity is not JSON"),
        ('[{"a": "\\ud83d?"}, {"a": 1}]', 1, ": entry 1: a text holds half of a surrogate pair"),
        ('[{"\\ud83d": 1}]', 0, ": entry 1: a text holds half of a surrogate pair"),
        ('[{"a": 1e999}, {"a": 1}]', 1, ": entry 1: not valid JSON: the number 1e999 is too large"),
        ('[{"a": 1},]', 1, ": not valid JSON behind entry 1: Illegal trailing comma"),
        ('[{"a": 1}, {"b": "x', 1, ": not valid JSON behind entry 1: Unterminated string"),
        ('[{"a": ' + "[" * 100_000, 0, ": entry 1 is nested too deeply to be read"),
        ("[" * 100_000, 0, ": entry 1 is nested too deeply to be read"),
        ("[]", 0, ": the list is empty"),
    ],
)
def test_faults_are_named_with_their_place(tmp_path: Path, text: str, kept: int, said: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    found, problems = read(path)
    assert len(found) == kept
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_entries_are_found_wherever_the_pieces_of_a_file_end(size: int) -> None:
    rows = [{"a": 12345, "b": "é\U0001f600\\"}, {"a": ["x" * 300_000]}, {"a": -1.5e-7}]
    text = json.dumps(rows, ensure_ascii=False)
    problems = Problems("rows")
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    assert [entry.row for entry in listed_objects(pieces, Path("a.json"), problems)] == rows
    assert not problems.count


@pytest.mark.parametrize(("value", "cause"), [("1e999", "too large"), ("-1E+400", "too large"), ('"\\ud83d"', "half")])
def test_a_line_that_could_not_be_written_again_is_named(tmp_path: Path, value: str, cause: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n{{"a": {value}}}\n')
    found, problems = read(path)
    assert found == [(1, {"a": 1})]
    assert [problem.startswith(f"{path}:2: ") and cause in problem for problem in problems] == [True]
