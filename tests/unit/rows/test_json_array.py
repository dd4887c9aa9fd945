import json
from pathlib import Path

import pytest

from finetrail.rows.json_array import read_objects
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
            ": not valid JSON behind entry 2: parse error: premature EOF: the list is cut",
        ),
        ('[{"a": 1}\n {"a": 2}]', 1, ": not valid JSON behind entry 1: parse error: after array element"),
        ('[{"a": 1},\n {"a": }]', 1, ": not valid JSON behind entry 1: parse error: unallowed token"),
        ('[{"a": 1}, 7]', 1, ": entry 2: expected a JSON object, found int"),
        ('[{"a": 1}] x', 1, ": not valid JSON behind entry 1: parse error: trailing garbage"),
        ('[{"b": {"a": 1, "a": 2}}, {"a": 1}]', 1, ": entry 1: the key 'a' occurs twice in one object"),
        ('[{"a": NaN}]', 0, ": not valid JSON behind entry 0: lexical error"),
        ("[]", 0, ": the list is empty"),
    ],
)
def test_faults_are_named_with_their_place(tmp_path: Path, text: str, kept: int, said: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    found, problems = read(path)
    assert len(found) == kept
    assert any(said in problem for problem in problems), problems
