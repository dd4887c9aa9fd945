import json
from pathlib import Path

import pytest

from finetrail import json_array
from finetrail.json_array import read_objects
from finetrail.problems import Problems
from finetrail.records import Row


def read(path: Path) -> tuple[list[tuple[int, Row]], list[str]]:
    problems = Problems("rows")
    found = [(line.number, line.row) for line in read_objects(path, problems)]
    return found, problems._shown


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_list_is_read_in_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(json_array, "PIECE", piece)
    rows = [{"a": "x]}{[,"}, {"b": [1, {"c": None}]}, {"é": '\\"'}]
    path = tmp_path / "list.json"
    path.write_text("\ufeff[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
    found, said = read(path)
    assert found == [(number, row) for number, row in enumerate(rows, start=2)]
    assert said == []


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert read(path) == ([(1, {"a": 1}), (3, {"a": 2})], [])


@pytest.mark.parametrize(
    ("text", "kept", "said"),
    [
        ('[{"a": 1},\n {"a": 2}', 2, ":2: the list is cut off"),
        ('[{"a": 1}\n {"a": 2}]', 1, ":2: expected a comma between two values, found '{'"),
        ('[{"a": 1},\n {"a": }]', 1, ":2: not valid JSON"),
        ('[{"a": 1}, 7]', 1, ":1: expected a JSON object, found int"),
        ('[{"a": 1}] x', 1, ":1: 'x' follows the list"),
        ('[{"a": 1, "a": 2}]', 0, "occurs twice"),
        ("[]", 0, ": the list is empty"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path: Path, text: str, kept: int, said: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    found, problems = read(path)
    assert len(found) == kept
    assert any(said in problem for problem in problems), problems
