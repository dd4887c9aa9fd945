import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.pages import count_tokens, page_passages
from finetrail.retrieval.passages import read_passages

DATA = Path(__file__).parents[3] / "data/hotpotqa"
LONGEST = 250


def official_rows() -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(DATA.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_every_sentence_of_the_bundled_pages_keeps_its_number() -> None:
    pages = {(title, tuple(sentences)) for row in official_rows() for title, sentences in row["context"]}
    for title, sentences in pages:
        found = {}
        for passage in page_passages(title, sentences, LONGEST):
            assert passage["title"] == title
            for number, (start, end) in enumerate(passage["sentences"], start=passage["first"]):
                found[number] = passage["text"][start:end]
        assert found == {number: sentence.strip() for number, sentence in enumerate(sentences)}


def test_passages_of_long_pages_have_150_to_250_tokens() -> None:
    lengths = []
    for row in official_rows():
        for title, sentences in row["context"]:
            passages = list(page_passages(title, sentences, LONGEST))
            if len(passages) > 1 and count_tokens(" ".join(sentences)) >= 300:
                lengths += [count_tokens(passage["text"]) for passage in passages]
            elif len(passages) == 1:
                assert count_tokens(passages[0]["text"]) <= LONGEST or len(sentences) == 1
    assert len(lengths) > 40
    assert sum(100 <= length <= LONGEST for length in lengths) / len(lengths) > 0.95
    assert max(lengths) <= LONGEST or sum(length > LONGEST for length in lengths) <= 1  # one sentence may be longer


def test_a_corpus_of_rows_has_each_page_once(tmp_path: Path) -> None:
    page = ["Arthur's Magazine", ["Founded in 1844.", " It ended in 1846."]]
    other = ["First for Women", ["Launched in 1989.", ""]]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"_id": "a", "context": [page, other]}, {"_id": "b", "context": [other, page]}]))
    passages = list(read_passages([path], []))
    assert [passage["title"] for passage in passages] == ["Arthur's Magazine", "First for Women"]
    assert passages[0]["text"] == "Founded in 1844. It ended in 1846."
    assert passages[1]["sentences"] == [[0, 17], [17, 17]]
    plain = tmp_path / "wiki.jsonl"
    plain.write_text(json.dumps({"id": "12", "title": page[0], "text": page[1]}) + "\n")
    assert [passage["id"] for passage in read_passages([plain], [])] == [passages[0]["id"]]


def test_bad_pages_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"_id": "a", "context": [["title"]]}) + "\n")
    with pytest.raises(FinetrailError, match=r"rows.jsonl:1: the pages are no list"):
        list(read_passages([path], []))
