"""A corpus becomes passages: what is kept as it is, and what the meta file says of it."""

import json
from pathlib import Path

import pytest

from finetrail.rows.records import read_rows
from recall import load_passages


def test_control_characters_stay_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run"))
    lines = (
        '{"_id": "a", "title": "Cl\\u0099rk", "text": "The clerk\\u0080\\u0099s office."}',
        '{"_id": "b", "text": "Open."}',
    )
    Path("corpus.jsonl").write_text("\n".join(lines) + "\n")
    settings = json.dumps({"recall": {"chunk_tokens": 250}})
    arguments = ["--files", "corpus.jsonl", "--out", "p.jsonl", "--meta", "p.meta.json", "--settings", settings]
    assert load_passages.main(arguments) == 0
    passages = list(read_rows(Path("p.jsonl")))
    assert [row["text"] for row in passages] == ["The clerk\x80\x99s office.", "Open."]
    assert json.loads(Path("p.meta.json").read_text())["control_characters"] == 3
