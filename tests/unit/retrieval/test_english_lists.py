"""What is found in the bundled English sets is what was found before words of other scripts were cut, to the digit.

`english_lists.json` was written by the code of commit 49ac980: of each question the SHA-256 of the best 30 passages'
ids and scores.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.passages import read_passages
from finetrail.retrieval.postings import Corpus, count_words
from finetrail.retrieval.search_index import SearchIndex
from finetrail.retrieval.tfidf import TfidfIndex

DATA = Path(__file__).parents[3] / "data"
RECORDED = json.loads(Path(__file__).with_name("english_lists.json").read_text(encoding="utf-8"))


def rows(path: str) -> Iterator[dict[str, Any]]:
    return map(json.loads, (DATA / path).read_text(encoding="utf-8").splitlines())


def government(form: str) -> list[str]:
    return [row["text"].replace("|user|:", " ") for row in rows(f"crag_mm/queries_{form}.jsonl")][::10]


def questions(name: str) -> tuple[str, list[str]]:
    """Return the file of passages of a set, and what is asked."""
    if name == "crag_mm_images":
        talks = list(rows("crag_mm_images/sessions.jsonl"))[:3]
        return "crag_mm_images/corpus.jsonl", [turn["query"] for talk in talks for turn in talk["turns"]]
    if name == "hotpotqa":
        return "hotpotqa/dev_40.jsonl", [row["question"] for row in rows("hotpotqa/dev_40.jsonl")][::4]
    return "crag_mm/corpus.jsonl", government({"rewritten": "rewrite", "last turns": "lastturn"}[name.split(", ")[1]])


@pytest.mark.parametrize("name", RECORDED)
def test_the_lists_are_those_of_before(name: str) -> None:
    path, asked = questions(name.split(":")[0])
    counted = Corpus([count_words(read_passages([DATA / path], []))])
    index: SearchIndex = BM25Index(counted, k1=0.9, b=0.4) if name.endswith("bm25") else TfidfIndex(counted)
    found = [repr([tuple(hit) for hit in hits]) for hits in index.search(asked, 30)]
    assert [hashlib.sha256(hits.encode()).hexdigest()[:16] for hits in found] == RECORDED[name]
