from typing import Any

import numpy as np
import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.rerank import ChunkRanker, candidate_rows, chunk_rows
from finetrail.text.chunks import chunk_spans

WORDS = 60


def passage(name: str, text: str, title: str = "") -> dict[str, str]:
    return {"id": name, "title": title, "text": text, "url": ""}


def test_the_best_chunks_are_those_of_a_plain_computation(
    corpus: list[dict[str, Any]], queries: dict[str, dict[str, str]]
) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    asked = list(queries["rewrite"].values())[:40]
    found = BM25Index.build(corpus, k1=0.9, b=0.4).search(asked, 30)
    candidates = [[h.passage_id for h in hits] for hits in found]
    ranked = list(ChunkRanker(corpus, max_words=WORDS).rank(asked, candidates, keep=30))

    parts = [(p, span) for p in corpus for span in chunk_spans(p["text"], WORDS)]
    model = TfidfVectorizer(token_pattern=r"(?u)\w+", sublinear_tf=True)
    chunks = model.fit_transform([f"{p['title']} {p['text'][start:end]}" for p, (start, end) in parts])
    similar = cosine_similarity(model.transform(asked), chunks)
    for row, (names, kept) in enumerate(zip(candidates, ranked, strict=True)):
        best: dict[str, tuple[float, tuple[int, int]]] = {}
        for (p, span), score in zip(parts, similar[row], strict=True):
            if p["id"] in names and score > best.get(p["id"], (-1.0, span))[0] + 1e-9:
                best[p["id"]] = (score, span)
        assert {c.passage_id: (c.start, c.end) for c in kept} == {name: span for name, (_, span) in best.items()}
        assert [c.score for c in kept] == pytest.approx(sorted((s for s, _ in best.values()), reverse=True), abs=1e-6)


def test_ties_go_by_id_then_by_place_and_batches_do_not_matter() -> None:
    corpus = [passage("b", "a fox.\na fox.\nno."), passage("a", "a fox.\nno."), passage("c", "nothing")]
    ranker = ChunkRanker(corpus, max_words=2)
    names = ["c", "b", "a"]
    (kept,) = ranker.rank(["fox"], [names], keep=9, per_passage=2)
    assert [(c.passage_id, c.start) for c in kept] == [("a", 0), ("b", 0), ("b", 7), ("a", 7), ("c", 0)]
    (one,) = ranker.rank(["fox"], [names], keep=2)
    assert [(c.passage_id, c.start, c.end) for c in one] == [("a", 0, 6), ("b", 0, 6)]
    assert list(ranker.rank(["no", "fox"], [names, names], keep=9))[1] == next(ranker.rank(["fox"], [names], keep=9))


def test_unknown_words_and_no_candidates() -> None:
    ranker = ChunkRanker([passage("a", "red fox")], max_words=9)
    assert list(ranker.rank(["zebra", "fox"], [["a"], []], keep=3)) == [[("a", 0, 7, 0.0)], []]
    with pytest.raises(FinetrailError, match="z: the candidate passage is not in the corpus"):
        list(ranker.rank(["fox"], [["z"]], keep=3))


def test_a_corpus_without_words_is_an_error() -> None:
    with pytest.raises(FinetrailError, match="hold no word"):
        ChunkRanker([passage("a", "...")], max_words=9)


def test_rows_carry_ranks_from_one() -> None:
    ranker = ChunkRanker([passage("a", "red fox"), passage("b", "fox")], max_words=9)
    (kept,) = ranker.rank(["red"], [["a", "b"]], keep=2)
    rows = chunk_rows(kept)
    assert [(r["rank"], r["passage_id"], r["start"], r["end"]) for r in rows] == [
        (1, "a", 0, 7),
        (2, "b", 0, 3),
    ]
    assert np.isclose(rows[0]["score"], kept[0].score)
    assert candidate_rows([("a", 2.5)], "bm25") == [{"passage_id": "a", "rank": 1, "score": 2.5, "source": "bm25"}]
