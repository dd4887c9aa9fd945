"""The report on retrieval, on the bundled judgements: beside an independent scorer and trec_eval's own measures."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytrec_eval

from finetrail.retrieval.judgements import read_qrels, read_queries
from finetrail.retrieval.passages import read_passages
from finetrail.retrieval.search_words import words
from finetrail.rows.artifacts import read_json
from recall import evaluate_retrieval, index_words, load_passages, plot_retrieval

DATA = Path(__file__).parents[3] / "data/crag_mm"
FORMS = {form: str(DATA / f"queries_{form}.jsonl") for form in ("rewrite", "lastturn")}
SETTINGS = {
    "recall": {"backend": "bm25", "top_k": 30, "k1": 0.9, "b": 0.4},
    "retrieval_report": {
        "qrels": str(DATA / "qrels/dev.tsv"), "queries": FORMS, "remove": ["|user|:"],
        "backends": ["bm25", "tfidf", "bm25+tfidf"], "group_before": "<::>", "cutoffs": [5, 30],
        "resamples": 200, "seed": 42,
    },
}  # fmt: skip
LEAST = {"rewrite": 0.60, "lastturn": 0.52}


def steps(folder: Path, queries: list[str], shards: int = 1) -> int:
    passages = folder / "passages.jsonl"
    status = load_passages.main(
        ["--files", str(DATA / "corpus.jsonl"), "--settings", '{"recall": {"chunk_tokens": 250}}',
         "--out", str(passages), "--meta", str(folder / "passages.meta.json")]
    )  # fmt: skip
    manifests = []
    for number in range(1, shards + 1):
        manifests.append(str(folder / f"{number}" / "manifest.json"))
        status += index_words.main(
            ["--passages", str(passages), "--shard", f"{number}/{shards}", "--manifest", manifests[-1],
             "--meta", str(folder / f"{number}.meta.json")]
        )  # fmt: skip
    return status + evaluate_retrieval.main(
        ["--qrels", str(DATA / "qrels/dev.tsv"), "--queries", *queries, "--words", *manifests, "--settings",
         json.dumps(SETTINGS, sort_keys=True), "--out", str(folder / "retrieval.json"),
         "--meta", str(folder / "retrieval.meta.json")]
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    assert steps(folder, list(FORMS.values())) == 0
    return folder


def independent_ndcg(form: str) -> float:
    """Search with bm25s's own index, and measure with pytrec_eval."""
    import bm25s

    passages = list(read_passages([DATA / "corpus.jsonl"], []))
    queries, qrels = read_queries(DATA / f"queries_{form}.jsonl", ["|user|:"]), read_qrels(DATA / "qrels/dev.tsv")
    scorer = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    scorer.index([words(f"{p['title']} {p['text']}") for p in passages], show_progress=False)
    run = {}
    for name, text in queries.items():
        places, scores = scorer.retrieve([words(text)], k=100, show_progress=False)
        run[name] = {passages[place]["id"]: float(score) for place, score in zip(places[0], scores[0], strict=True)}
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10"}).evaluate(run)
    return sum(row["ndcg_cut_10"] for row in found.values()) / len(found)


@pytest.mark.parametrize("form", FORMS)
def test_bm25_is_as_good_as_an_independent_scorer(folder: Path, form: str) -> None:
    found: dict[str, Any] = read_json(folder / "retrieval.json")["forms"][form]
    comparison = found["comparisons"]["ndcg@10"]
    score = comparison["models"]["bm25"]["estimate"]
    assert score == pytest.approx(independent_ndcg(form), abs=0.005)
    assert score >= LEAST[form]
    assert (found["queries"], found["without_relevant_passage"], comparison["units"]) == (201, 0, 201)
    fused = comparison["differences"]["bm25+tfidf"]
    assert fused["low"] < fused["estimate"] < fused["high"]
    assert comparison["models"]["bm25"]["groups"] == 28, "conversations are drawn, not turns"


@pytest.mark.heavy
def test_order_of_files_and_shards_change_no_byte(folder: Path, tmp_path: Path) -> None:
    assert steps(tmp_path, list(reversed(FORMS.values())), shards=3) == 0
    again, report = read_json(tmp_path / "retrieval.json"), read_json(folder / "retrieval.json")
    assert again == report


def test_the_picture_is_the_same_for_the_same_report(folder: Path, tmp_path: Path) -> None:
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in pictures:
        arguments = ["--report", str(folder / "retrieval.json"), "--picture", str(path)]
        assert plot_retrieval.main([*arguments, "--meta", str(path.with_suffix(".meta.json"))]) == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert b"<svg" in pictures[0].read_bytes()


def test_queries_that_no_judgement_names_are_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "unknown", "text": "fox"}\n')
    assert steps(tmp_path, [str(path)]) == 1
    assert "is no file of queries of the settings" in capfd.readouterr().err
