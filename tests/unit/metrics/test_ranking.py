"""Measures beside those of pytrec_eval (trec_eval's own code), and files of queries and judgements."""

import random
from pathlib import Path

import pytest
import pytrec_eval

from finetrail.errors import FinetrailError
from finetrail.metrics.ranking import measures
from finetrail.retrieval.judgements import read_qrels, read_queries

CUTOFFS = [1, 5, 30]
THEIRS = {"ndcg@10": "ndcg_cut_10", "mrr": "recip_rank", **{f"recall@{k}": f"recall_{k}" for k in CUTOFFS}}


def test_measures_are_those_of_trec_eval() -> None:
    rng = random.Random(5)
    qrels: dict[str, dict[str, int]] = {}
    rankings: dict[str, list[str]] = {}
    for number in range(300):
        names = [f"p{place}" for place in range(60)]
        graded = rng.sample(names, rng.randrange(1, 40))
        qrels[str(number)] = {name: rng.choice([0, 0, 1, 2, 3]) for name in graded} | {"sure": 1}
        rankings[str(number)] = rng.sample([*names, "sure"], rng.randrange(1, 61))
    run = {name: {p: float(-place) for place, p in enumerate(ranking)} for name, ranking in rankings.items()}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(THEIRS.values())).evaluate(run)
    for name, ranking in rankings.items():
        ours = measures(ranking, qrels[name], CUTOFFS)
        assert ours == pytest.approx({key: theirs[name][other] for key, other in THEIRS.items()}, abs=1e-9)


def test_files_of_the_layout_of_beir(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "|user|: a  b"}\n{"id": "2", "text": "c"}\n')
    assert read_queries(tmp_path / "q.jsonl", ["|user|:"]) == {"1": "a b", "2": "c"}
    (tmp_path / "r.tsv").write_text('query-id\tcorpus-id\tscore\n1\tp\t1\n1\tq\t-1\n2\t"p\t2\n')
    assert read_qrels(tmp_path / "r.tsv") == {"1": {"p": 1, "q": -1}, "2": {'"p': 2}}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a\tb\tc\n", "r.tsv:1: begins with"),
        ("query-id\tcorpus-id\tscore\n1\tp\n1\tp\tx\n1\tp\t1\n1\tp\t1\n", "3 faults in the judgements"),
    ],
)
def test_bad_judgements_are_named(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "r.tsv").write_text(text)
    with pytest.raises(FinetrailError, match=cause):
        read_qrels(tmp_path / "r.tsv")


@pytest.mark.parametrize("row", ['{"_id": "1"}', '{"_id": 1, "text": "a"}', '{"_id": "0", "text": "again"}'])
def test_bad_queries_are_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "q.jsonl").write_text('{"_id": "0", "text": "a"}\n' + row + "\n")
    with pytest.raises(FinetrailError, match=r"q\.jsonl:2"):
        read_queries(tmp_path / "q.jsonl")
