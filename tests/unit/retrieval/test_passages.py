import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.passages import read_passages


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_both_id_names_are_read_and_entities_decoded(tmp_path: Path) -> None:
    path = write(
        tmp_path / "corpus.jsonl",
        {
            "_id": "a",
            "title": "Q&amp;A",
            "text": "1 &lt; 2",
            "url": "https://x.example/?a=1&amp;b=2",
            "more": 1,
        },
        {"id": "b", "text": "plain", "title": None},
    )
    dropped: list[dict[str, Any]] = []
    assert list(read_passages([path], dropped)) == [
        {"id": "a", "title": "Q&A", "text": "1 < 2", "url": "https://x.example/?a=1&amp;b=2"},
        {"id": "b", "title": "", "text": "plain", "url": ""},
    ]
    assert dropped == []


def test_passages_without_text_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"id": "a", "text": "x"}, {"id": "b", "text": " &nbsp;\n"})
    dropped: list[dict[str, Any]] = []
    assert [p["id"] for p in read_passages([path], dropped)] == ["a"]
    assert dropped == [{"id": "b", "reason": "no text", "file": "c.jsonl", "line": 2}]


def test_all_bad_passages_are_listed(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", {"id": "a", "text": "x"}, {"text": "x"}, {"id": "c"}, {"id": 7, "text": "x"})
    second = write(tmp_path / "b.jsonl", {"id": "d", "text": "x", "title": 3}, {"id": "a", "text": "other"})
    with pytest.raises(FinetrailError) as caught:
        list(read_passages([first, second, tmp_path / "none.jsonl"], []))
    text = str(caught.value)
    assert text.startswith("6 faults in the passages")
    assert f"{first}:2: the passage has no id" in text
    assert f"{first}:3 (c): text: expected a text" in text
    assert f"{first}:4: the passage has no id" in text
    assert f"{second}:1 (d): title: expected a text" in text
    assert f"{second}:2: duplicate id 'a', first seen at {first}:1" in text
    assert "none.jsonl: cannot be read" in text
