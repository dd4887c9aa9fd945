"""The steps of recall and rerank with every backend over one corpus: what is found, by what, and twice the same."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from finetrail.retrieval.cross_encoder import PairScorer
from finetrail.retrieval.model_place import ModelPlace
from finetrail.rows.artifacts import read_json
from finetrail.rows.records import Row, read_rows, write_jsonl
from finetrail.text.chunks import chunk_spans
from recall import index_vectors, index_words, recall_passages, rerank_passages
from tests.unit.retrieval.tiny_encoder import save_tiny_encoder, save_tiny_scorer

pytestmark = pytest.mark.heavy

TEXTS = ["The red fox sleeps.", "A green bird runs over the river.", "The old house by the river.", "fox fox fox"]
QUERIES = [["red fox"], ["the old river", "green bird"], ["zzz"]]


def model(path: Path) -> Row:
    return {"path": str(path), "package": None, "hub": None, "revision": None, "sha256": None, "max_tokens": 32}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Passages, queries and models; both indexes in two shards."""
    folder = tmp_path_factory.mktemp("backends")
    passages = [{"id": f"p{n}", "title": "", "text": text, "url": ""} for n, text in enumerate(TEXTS)]
    write_jsonl(folder / "passages.jsonl", passages)
    rows = [
        {"id": f"r{n}", "queries": [{"text": text, "origin": "model"} for text in texts]}
        for n, texts in enumerate(QUERIES)
    ]
    write_jsonl(folder / "queries.jsonl", rows)
    encoder = model(save_tiny_encoder(folder / "encoder")) | {"query_prefix": "", "passage_prefix": ""}
    (folder / "settings.json").write_text(json.dumps({"encoder": encoder}))
    save_tiny_scorer(folder / "scorer")
    for number in (1, 2):
        common = ["--passages", str(folder / "passages.jsonl"), "--shard", f"{number}/2"]
        words, vectors = folder / "words" / str(number), folder / "vectors" / str(number)
        place = ["--manifest", str(words / "manifest.json"), "--meta", f"{words}.meta.json"]
        assert index_words.main([*common, *place]) == 0
        place = ["--manifest", str(vectors / "manifest.json"), "--meta", f"{vectors}.meta.json"]
        assert index_vectors.main([*common, *place, "--settings", json.dumps({"encoder": encoder})]) == 0
    return folder


def recalled(there: Path, out: Path, backend: str) -> list[Row]:
    settings = json.loads((there / "settings.json").read_text())
    settings["recall"] = {"backend": backend, "hybrid": ["bm25", "dense"], "top_k": 3, "k1": 0.9, "b": 0.4}
    status = recall_passages.main(
        ["--rows", str(there / "queries.jsonl"), "--out", str(out), "--meta", f"{out}.meta.json",
         "--words", *(str(there / f"words/{number}/manifest.json") for number in (1, 2)),
         "--vectors", *(str(there / f"vectors/{number}/manifest.json") for number in (1, 2)),
         "--settings", json.dumps(settings)]
    )  # fmt: skip
    assert status == 0
    return list(read_rows(out))


@pytest.mark.parametrize("backend", ["bm25", "tfidf"])
def test_words_find_what_shares_them(there: Path, tmp_path: Path, backend: str) -> None:
    fox, river, nothing = recalled(there, tmp_path / "a.jsonl", backend)
    assert {c["passage_id"] for c in fox["candidates"]} == {"p0", "p3"}
    assert {c["source"] for c in fox["candidates"]} == {backend}
    assert fox["candidates"][0]["found_by"] == [{"query": 0, "rank": 1}]
    assert {c["source"] for c in river["candidates"]} == {f"{backend}+rrf"}
    bird = next(c for c in river["candidates"] if c["passage_id"] == "p1")
    assert bird["found_by"][-1] == {"query": 1, "rank": 1}
    assert nothing["candidates"] == []
    recalled(there, tmp_path / "b.jsonl", backend)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert read_json(tmp_path / "a.jsonl.meta.json")["questions_without_candidates"] == 1


@pytest.mark.parametrize("backend", ["dense", "hybrid"])
def test_meaning_finds_something_for_every_question(there: Path, tmp_path: Path, backend: str) -> None:
    rows = recalled(there, tmp_path / "a.jsonl", backend)
    assert [len(row["candidates"]) for row in rows] == [3, 3, 3]
    source = "dense" if backend == "dense" else "bm25+dense+rrf"
    assert {c["source"] for c in rows[0]["candidates"]} == {source}
    origins = [origin for c in rows[1]["candidates"] for origin in c["found_by"]]
    assert {origin["query"] for origin in origins} == {0, 1}
    assert {origin.get("source") for origin in origins} == ({None} if backend == "dense" else {"bm25", "dense"})


def rerank(there: Path, rows: Path, out: Path, settings: dict[str, Any]) -> int:
    return rerank_passages.main(
        ["--rows", str(rows), "--passages", str(there / "passages.jsonl"), "--out", str(out),
         "--meta", f"{out}.meta.json", "--settings", json.dumps({"rerank": settings})]
    )  # fmt: skip


def test_a_cross_encoder_keeps_the_chunks_that_it_scores_best(there: Path, tmp_path: Path) -> None:
    recalled(there, tmp_path / "recall.jsonl", "dense")
    settings = {"method": "cross_encoder", "model": model(there / "scorer"), "chunk_words": 4}
    settings |= {"keep_passages": 3, "keep_chunks": 2}
    assert rerank(there, tmp_path / "recall.jsonl", tmp_path / "out.jsonl", settings) == 0
    scorer = PairScorer(ModelPlace(path=str(there / "scorer")), max_tokens=32)
    texts = dict(zip(["p0", "p1", "p2", "p3"], TEXTS, strict=True))
    for row, queries in zip(read_rows(tmp_path / "out.jsonl"), QUERIES, strict=True):
        best = {}
        for name in [c["passage_id"] for c in row["candidates"]]:
            parts = [texts[name][start:end] for start, end in chunk_spans(texts[name], 4)]
            best[name] = max(scorer.scores([(" ".join(queries), part) for part in parts]))
        expected = sorted(best.values(), reverse=True)[:2]
        assert [chunk["score"] for chunk in row["chunks"]] == pytest.approx(expected, abs=2e-4)
        assert [chunk["rank"] for chunk in row["chunks"]] == [1, 2]
    assert len(read_json(tmp_path / "out.jsonl.meta.json")["model"]) == 64


def test_a_candidate_that_no_passage_has_is_named(
    there: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    row = {"id": "r", "queries": [{"text": "fox"}], "candidates": [{"passage_id": "gone"}]}
    write_jsonl(tmp_path / "recall.jsonl", [row])
    for settings in ({"method": "tfidf"}, {"method": "cross_encoder", "model": model(there / "scorer")}):
        sizes = {"chunk_words": 4, "keep_passages": 3, "keep_chunks": 2}
        assert rerank(there, tmp_path / "recall.jsonl", tmp_path / "out.jsonl", settings | sizes) == 1
        assert re.search(r"\bgone\)?: the candidate passage is not in the corpus", capfd.readouterr().err)
