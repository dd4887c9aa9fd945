"""Features of candidates and their listwise fusion; on the bundled questions it beats BM25's order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetrail.errors import FinetrailError
from finetrail.metrics.bootstrap import Sample, paired_bootstrap
from finetrail.metrics.ranking import ndcg, recall
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.bridges import FEATURES, features, fit_listwise, ranks, with_scores
from finetrail.retrieval.pages import page_id
from finetrail.retrieval.passages import read_passages

DATA = Path(__file__).parents[3] / "data/hotpotqa"
FILES = [DATA / "train_100.jsonl", DATA / "dev_40.jsonl"]
COLUMN = {name: place for place, name in enumerate(FEATURES)}


def passage(title: str, text: str) -> dict[str, str]:
    return {"id": title, "title": title, "text": text}


def test_bridges_lead_from_a_top_passage_to_the_title_that_it_names() -> None:
    found = [
        passage("Arthur's Magazine", "A periodical that was edited by Timothy Shay Arthur."),
        passage("Timothy Shay Arthur (author)", "He was born in 1809."),
        passage("Elsewhere", "Nothing of the kind."),
        passage("Far down", "It mentions Arthur's Magazine, once."),
    ]
    table = features("Who edited Arthur's Magazine?", found, [4.0, 3.0, 2.0, 1.0])
    assert table[:, COLUMN["title in the question"]].tolist() == [1, 0, 0, 0]
    assert table[:, COLUMN["title in a top passage"]].tolist() == [0, 1, 0, 0]
    assert table[:, COLUMN["names the title of a top passage"]].tolist() == [1, 0, 0, 1]
    assert table[:, COLUMN["retrieval score"]].tolist() == [1, 0.75, 0.5, 0.25]


def test_a_column_of_scores_has_no_scale_of_its_own() -> None:
    table = with_scores(np.zeros((3, 1)), [1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
    assert table[:, 1].tolist() == pytest.approx([-1.2247, 0, 1.2247], abs=1e-4)
    assert table[:, 2].tolist() == [0, 0, 0]


def test_the_weights_prefer_what_gold_has_and_do_not_depend_on_the_order() -> None:
    tables = [np.array([[1.0, 0.3], [0.0, 0.9], [0.0, 0.1]]), np.array([[0.0, 0.8], [1.0, 0.2]])]
    gold = [[True, False, False], [False, True]]
    weights = fit_listwise(tables, gold)
    assert weights[0] > 0.5 and weights[0] > weights[1]
    assert fit_listwise(tables[::-1], gold[::-1]) == pytest.approx(weights, abs=1e-5)
    assert np.argmax(ranks(tables[0], weights)) == 0


def test_nothing_to_learn_from_is_an_error() -> None:
    with pytest.raises(FinetrailError, match="no question has a gold passage"):
        fit_listwise([np.zeros((2, 1))], [[False, False]])


def is_gold(page: dict[str, Any], facts: list[list[Any]]) -> bool:
    return any(title == page["title"] and 0 <= n - page["first"] < len(page["sentences"]) for title, n in facts)


def test_on_the_bundled_questions_the_fusion_beats_the_order_of_bm25() -> None:
    passages = {p["id"]: p for p in read_passages(FILES, [])}
    of_page: dict[str, list[str]] = {}
    for name, p in passages.items():
        of_page.setdefault(p["page"], []).append(name)
    index = BM25Index.build(passages.values(), k1=0.9, b=0.4)

    def tables(path: Path) -> list[tuple[Any, list[bool]]]:
        made = []
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row, hits in zip(rows, index.search([row["question"] for row in rows], len(passages)), strict=True):
            known = {hit.passage_id: hit.score for hit in hits}
            own = {name for title, lines in row["context"] for name in of_page[page_id(title, lines)]}
            order = sorted(own, key=lambda name: (-known.get(name, 0.0), name))
            found = [passages[name] for name in order]
            scores = [known.get(name, 0.0) for name in order]
            made.append(
                (features(row["question"], found, scores), [is_gold(p, row["supporting_facts"]) for p in found])
            )
        return made

    train, test = (tables(path) for path in FILES)
    weights = fit_listwise([table for table, _ in train], [gold for _, gold in train])
    bm25, fused = [], []
    for table, gold in test:
        relevant = {str(place) for place, one in enumerate(gold) if one}
        scores = ranks(table, weights)
        order = sorted(range(len(gold)), key=lambda place: (-scores[place], place))
        bm25.append(ndcg([str(place) for place in range(len(gold))], relevant, 10))
        fused.append(ndcg([str(place) for place in order], relevant, 10))
    groups = [str(number) for number in range(len(test))]
    difference = paired_bootstrap(
        Sample.of_means(groups, fused), Sample.of_means(groups, bm25), resamples=1000, seed=42
    )
    assert len(test) == 40
    assert difference.low is not None and difference.low > 0, difference


def test_ndcg_and_recall() -> None:
    assert ndcg(["a", "x", "b"], {"a", "b"}, 10) == pytest.approx(1.5 / (1 + 1 / np.log2(3)))
    assert ndcg(["x"], {"a"}, 10) == 0
    assert recall(["a", "x", "b"], {"a", "b"}, 2) == 0.5
