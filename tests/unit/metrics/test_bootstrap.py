from itertools import product

import numpy as np
import pytest

from finetrail.errors import FinetrailError
from finetrail.metrics import bootstrap as module
from finetrail.metrics.bootstrap import Sample, bootstrap, bounds_apart, bounds_text, paired_bootstrap

NAN = float("nan")


def test_a_small_case_by_hand() -> None:
    """Three groups of differences 0, 3 and 6 have 27 equally likely resamples; their means are known."""
    first = Sample.of_means(["a", "b", "b", "c"], [1, 2, 4, 6])
    second = Sample.of_means(["a", "b", "b", "c"], [1, 0, 3, 0])
    sums = {"a": (0, 1), "b": (3, 2), "c": (6, 1)}
    every = [sum(sums[g][0] for g in drawn) / sum(sums[g][1] for g in drawn) for drawn in product("abc", repeat=3)]
    got = paired_bootstrap(first, second, resamples=20_000, seed=1, level=0.8)
    assert got.estimate == 9 / 4
    assert (got.low, got.high) == tuple(np.quantile(every, [0.1, 0.9], method="inverted_cdf"))
    assert (got.groups, got.resamples, got.excludes_zero) == (3, 20_000, True)


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios() -> None:
    sample = Sample(["a", "b"], [10, 1], [1, 9])
    got = bootstrap(sample, resamples=4000, seed=0)
    assert got.estimate == 1.1
    assert (got.low, got.high) == (round(1 / 9, 9), 10.0)


def test_one_group_has_an_estimate_and_no_interval() -> None:
    got = paired_bootstrap(
        Sample.of_means(["a", "a"], [1, 3]), Sample.of_means(["a", "a"], [0, 0]), resamples=9, seed=0
    )
    assert (got.estimate, got.low, got.high, got.excludes_zero) == (2.0, None, None, False)
    assert bounds_text(got.as_row(), "+.3f") == "no interval: one group"
    assert bounds_apart([got.as_row()]) == [[0.0], [0.0]]


def test_equal_models_differ_by_exactly_nothing() -> None:
    sample = Sample.of_means(list("abcd"), [1, 5, 2, 8])
    got = paired_bootstrap(sample, sample, resamples=500, seed=0)
    assert (got.estimate, got.low, got.high, got.excludes_zero) == (0.0, 0.0, 0.0, False)


def test_pairing_is_narrower_than_comparing_apart() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 5, 60)
    groups = [str(n) for n in range(60)]
    first, second = (Sample.of_means(groups, list(hard + rng.normal(shift, 0.5, 60))) for shift in (1, 0))
    paired = paired_bootstrap(first, second, resamples=2000, seed=0)
    alone = bootstrap(first, resamples=2000, seed=0)
    assert paired.excludes_zero
    narrow, wide = (np.ptp([one.low, one.high]) for one in (paired, alone))
    assert 0 < narrow < wide / 4


def test_groups_are_drawn_whole() -> None:
    """Ten copies of each unit in its group say nothing new; as units of their own they would seem to."""
    values = list(np.random.default_rng(1).normal(size=20))
    once = bootstrap(Sample.of_means([str(n) for n in range(20)], values), resamples=3000, seed=3)
    names = [str(n) for n in range(20) for _ in range(10)]
    copied = bootstrap(Sample.of_means(names, [v for v in values for _ in range(10)]), resamples=3000, seed=3)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    groups = [str(n // 2) for n in range(80)]
    inside = 0
    for trial in range(300):
        shared = np.repeat(rng.normal(size=40), 2)
        values = list(shared + rng.normal(size=80))  # the truth is 0
        inside += not bootstrap(Sample.of_means(groups, values), resamples=400, seed=trial).excludes_zero
    assert 0.90 <= inside / 300 <= 0.98


def test_same_seed_same_numbers_whatever_the_order_and_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sample(["a", "b", "c", "a"], [1, 2, 3, 4], [2, 1, 5, 1])
    turned = Sample(sample.groups[::-1], sample.numerators[::-1], sample.denominators[::-1])
    first = bootstrap(sample, resamples=1000, seed=5)
    assert bootstrap(turned, resamples=1000, seed=5) == first
    assert bootstrap(sample, resamples=7, seed=6) != bootstrap(sample, resamples=7, seed=5)
    monkeypatch.setattr(module, "BLOCK", 10)
    assert bootstrap(sample, resamples=1000, seed=5) == first


@pytest.mark.parametrize(
    ("sample", "cause"),
    [
        (Sample([], [], []), "at least one"),
        (Sample(["a"], [1, 2], [1, 1]), "equally many"),
        (Sample(["a"], [NAN], [1]), "not a finite number"),
        (Sample(["a", "b"], [1, 1], [1, 0]), "b: the group's denominators"),
    ],
)
def test_bad_measurements_are_refused(sample: Sample, cause: str) -> None:
    with pytest.raises(FinetrailError, match=cause):
        bootstrap(sample, resamples=10, seed=0)


def test_models_on_different_units_are_refused() -> None:
    with pytest.raises(FinetrailError, match="same units"):
        paired_bootstrap(Sample.of_means("ab", [1, 2]), Sample.of_means("ac", [1, 2]), resamples=10, seed=0)
