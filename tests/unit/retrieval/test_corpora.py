"""Corpora of all kinds: what becomes a passage, and what is listed with its reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.corpora import PASSAGE_WORDS, read_corpus


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_files_beir_and_documents_make_one_corpus(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.jsonl", {"id": "p", "text": "a &amp; b"})
    write(tmp_path / "beir/corpus.jsonl", {"_id": "q", "title": "T", "text": "c"}, {"_id": "e", "text": ""})
    write(tmp_path / "beir/queries.jsonl", {"_id": "1", "text": "not a passage"})
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    sentence = "One two three four five six seven eight nine ten. "
    (folder / "deep/long.md").write_text("# Heading\n\n" + sentence * 50)
    (folder / "page.html").write_text(
        "<html><title>Fish &amp; chips</title><body><p>Caf&eacute; tea.</p></body></html>"
    )
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 no more")
    (folder / ".hidden.txt").write_text("secret")
    dropped: list[dict[str, Any]] = []
    rows = list(read_corpus([plain, tmp_path / "beir", folder], dropped))
    assert [row["id"] for row in rows[:2]] == ["p", "q"]
    assert rows[0]["text"] == "a & b"
    assert {row["title"] for row in rows[2:]} == {"Heading", "Fish & chips"}
    long = [row["text"] for row in rows if row["title"] == "Heading"]
    assert len(long) == 3
    assert all(len(text.split()) <= PASSAGE_WORDS and text.endswith("ten.") for text in long)
    assert "Café tea." in rows[-1]["text"]
    assert [(row["id"], row["reason"].split(":")[0]) for row in dropped] == [
        ("e", "no text"),
        ("docs/broken.pdf", "truncated"),
    ]
    assert len({row["id"] for row in rows}) == len(rows)
    assert "secret" not in json.dumps(rows)


def test_a_folder_without_documents_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FinetrailError, match="holds no document"):
        list(read_corpus([tmp_path / "empty"], []))
