"""A judge held to gold: figures worked out by hand, and an interval that covers the truth as often as it says."""

import random

import pytest

from finetrail.errors import FinetrailError
from finetrail.metrics.agreement import agreement, cohen_kappa
from finetrail.metrics.calibration import Pair, compare_with_gold, corrected_yield

DRAWS = {"resamples": 400, "seed": 1}


def pairs(tp: int, fp: int, fn: int, tn: int) -> list[Pair]:
    cells = [(True, True)] * tp + [(False, True)] * fp + [(True, False)] * fn + [(False, False)] * tn
    return [Pair(f"g{n % 20}", gold, said, float(said), float(gold)) for n, (gold, said) in enumerate(cells)]


def test_the_figures_of_a_table_worked_out_by_hand() -> None:
    found = compare_with_gold(pairs(40, 10, 20, 30), **DRAWS)
    assert found["confusion"] == {"tp": 40, "fp": 10, "fn": 20, "tn": 30}
    assert found["always_yes"] == {"accuracy": 0.6, "precision": 0.6, "recall": 1.0}
    assert (found["precision"], found["recall"], found["specificity"]) == (0.8, 0.666667, 0.75)
    assert found["f1"] == 0.727273
    assert found["kappa"] == 0.4  # (0.7 - 0.5) / (1 - 0.5)
    assert found["auc"] == 0.708333  # of a verdict: the mean of recall and specificity
    assert found["auc_of_score"] == 1.0
    assert found["accuracy"]["estimate"] == 0.7 and 0.6 < found["accuracy"]["low"] < found["accuracy"]["high"] < 0.8
    assert [one["pairs"] for one in found["by_score"]] == [20] * 5
    assert [one["gold_yes"] for one in found["by_score"]] == [0.0, 0.0, 1.0, 1.0, 1.0]


def test_what_is_not_defined_is_none() -> None:
    assert cohen_kappa([], []) is None and cohen_kappa([1, 1], [1, 1]) is None
    assert agreement([], [])["agreed"] is None
    found = compare_with_gold(pairs(5, 0, 0, 0), **DRAWS)
    assert (found["auc"], found["specificity"], found["kappa"]) == (None, None, None)
    with pytest.raises(FinetrailError, match="no gold label"):
        compare_with_gold([], **DRAWS)


def labels(yes: int, no: int) -> list[tuple[str, bool]]:
    return [(f"g{n % 25}", said) for n, said in enumerate([True] * yes + [False] * no)]


def test_a_share_is_corrected_as_rogan_and_gladen_say() -> None:
    found = corrected_yield(labels(500, 500), pairs(80, 10, 20, 90), **DRAWS)
    assert found["share_of_yes"] == 0.5
    assert found["corrected"] == 0.571429  # (.5 + .9 - 1) / (.8 + .9 - 1)
    more = corrected_yield(labels(500, 500), pairs(800, 100, 200, 900), **DRAWS)
    assert more["corrected"] == found["corrected"]
    assert more["high"] - more["low"] < 0.7 * (found["high"] - found["low"]), "it carries the calibration's own error"


@pytest.mark.parametrize("table", [(50, 50, 50, 50), (30, 60, 70, 40), (51, 50, 49, 50), (10, 0, 0, 0)])
def test_a_judge_that_tells_nothing_gets_no_interval(table: tuple[int, int, int, int]) -> None:
    found = corrected_yield(labels(50, 50), pairs(*table), **DRAWS)
    assert (found["corrected"], found["low"], found["high"]) == (None, None, None)
    assert "tell" in found["why_none"] or "correct" in found["why_none"]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(7)
    truth, sensitivity, specificity = 0.4, 0.85, 0.8

    def judged(gold: bool) -> bool:
        return rng.random() < (sensitivity if gold else 1 - specificity)

    covered = 0
    rounds = 150
    for _ in range(rounds):
        seen = [(f"g{n % 60}", judged(rng.random() < truth)) for n in range(600)]
        golds = [rng.random() < 0.6 for _ in range(240)]
        known = [Pair(f"g{n % 60}", gold, judged(gold), 0.0, 0.0) for n, gold in enumerate(golds)]
        found = corrected_yield(seen, known, resamples=200, seed=3)
        covered += found["low"] <= truth <= found["high"]
    assert 0.88 <= covered / rounds <= 0.99, "an interval without the calibration's error covers about 0.7"
