import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.postings import Corpus, count_words
from finetrail.retrieval.search_index import SearchIndex

K1, B = 0.9, 0.4


def passage(name: str, text: str, title: str = "") -> dict[str, str]:
    return {"id": name, "title": title, "text": text, "url": ""}


@pytest.fixture(scope="module")
def index(corpus: list[dict[str, Any]]) -> SearchIndex:
    return BM25Index.build(corpus, k1=K1, b=B)


def plain_bm25(documents: list[list[str]], query: list[str]) -> list[float]:
    """BM25 from the formula, a document and a word at a time, in double precision."""
    lengths = np.array([len(d) for d in documents])
    scores = np.zeros(len(documents))
    counts = [Counter(d) for d in documents]
    for word in query:
        frequency = np.array([c[word] for c in counts], dtype=float)
        containing = int((frequency > 0).sum())
        idf = np.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
        scores += idf * frequency / (frequency + K1 * (1 - B + B * lengths / lengths.mean()))
    return list(scores)


def ndcg(ranking: Sequence[str], relevant: dict[str, int], k: int = 10) -> float:
    gains = [relevant.get(name, 0) for name in ranking[:k]]
    ideal = sorted(relevant.values(), reverse=True)[:k]
    found, best = (sum(g / math.log2(i + 2) for i, g in enumerate(row)) for row in (gains, ideal))
    return found / best


@pytest.mark.parametrize(("form", "least"), [("rewrite", 0.60), ("lastturn", 0.52)])
def test_quality_on_the_bundled_set(
    index: SearchIndex,
    queries: dict[str, dict[str, str]],
    relevance: dict[str, dict[str, int]],
    form: str,
    least: float,
) -> None:
    found = index.search(list(queries[form].values()), 10)
    scores = [
        ndcg([h.passage_id for h in hits], relevance[name]) for name, hits in zip(queries[form], found, strict=True)
    ]
    assert len(scores) == 201
    assert fmean(scores) >= least


def test_scores_equal_the_formula(
    index: SearchIndex, corpus: list[dict[str, Any]], queries: dict[str, dict[str, str]]
) -> None:
    documents = [re.findall(r"\w+", f"{p['title']} {p['text']}".lower()) for p in corpus]
    asked = list(queries["rewrite"].values())[::8]
    for query, hits in zip(asked, index.search(asked, 30), strict=True):
        expected = plain_bm25(documents, re.findall(r"\w+", query.lower()))
        by_id = {p["id"]: score for p, score in zip(corpus, expected, strict=True)}
        assert [h.score for h in hits] == pytest.approx([by_id[h.passage_id] for h in hits], abs=1e-4)
        best = sorted(expected, reverse=True)[: len(hits)]
        assert [h.score for h in hits] == pytest.approx(best, abs=1e-4)


def test_ties_go_by_id_also_at_the_last_place() -> None:
    names = [f"p{number:02d}" for number in range(40)]
    random.Random(0).shuffle(names)
    index = BM25Index.build([passage(name, "same words here") for name in names], k1=K1, b=B)
    (hits,) = index.search(["words"], 10)
    assert [h.passage_id for h in hits] == sorted(names)[:10]
    assert len({h.score for h in hits}) == 1


def test_results_do_not_depend_on_the_batch_or_the_order_of_the_corpus(
    index: SearchIndex, corpus: list[dict[str, Any]], queries: dict[str, dict[str, str]]
) -> None:
    asked = list(queries["lastturn"].values())
    together = list(index.search(asked, 30))
    assert [next(index.search([query], 30)) for query in asked] == together
    shuffled = random.Random(1).sample(corpus, len(corpus))
    assert list(BM25Index.build(shuffled, k1=K1, b=B).search(asked, 30)) == together


@pytest.mark.parametrize("shards", [1, 3])
def test_chosen_passages_have_the_scores_that_a_search_gives_them(
    corpus: list[dict[str, Any]], queries: dict[str, dict[str, str]], shards: int
) -> None:
    parts = Corpus([count_words(corpus[start::shards]) for start in range(shards)])
    index = BM25Index(parts, k1=K1, b=B)
    asked = [*list(queries["rewrite"].values())[::20], "", "fox fox unheardof"]
    names = [p["id"] for p in corpus[::7]]
    for query, scores, hits in zip(
        asked, index.score([(query, names) for query in asked]), index.search(asked, len(corpus)), strict=True
    ):
        known = {hit.passage_id: hit.score for hit in hits}
        assert scores == [known.get(name, 0.0) for name in names], query
    assert index.score([("red", [])]) == [[]]


def test_only_passages_that_share_a_word_are_found() -> None:
    index = BM25Index.build([passage("a", "red fox"), passage("b", "blue", title="Fox"), passage("c", "!")], k1=K1, b=B)
    assert [{h.passage_id for h in hits} for hits in index.search(["FOX!", "green", "", "red"], 5)] == [
        {"a", "b"},
        set(),
        set(),
        {"a"},
    ]


def test_a_corpus_without_words_is_an_error() -> None:
    for corpus in ([], [passage("a", "...")]):
        with pytest.raises(FinetrailError, match="holds no word"):
            BM25Index.build(corpus, k1=K1, b=B)
