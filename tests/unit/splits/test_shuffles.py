"""Counts of shuffles: exact for rows, the nearest that there is for groups."""

from itertools import accumulate, combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finetrail.splits.shuffles import WINDOW, nearest_sum, shuffle_rows, targets


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(0, 200))
def test_no_choice_of_groups_is_nearer(sizes: list[int], count: int) -> None:
    named = [(f"g{n}", size) for n, size in enumerate(sizes)]
    chosen = nearest_sum(named, count)
    got = sum(size for name, size in named if name in chosen)
    sums = {sum(part) for k in range(len(sizes) + 1) for part in combinations(sizes, k)}
    assert abs(got - count) == min(abs(total - count) for total in sums)


@pytest.mark.heavy
def test_many_groups_reach_the_count_exactly() -> None:
    named = [(f"g{n}", n % 7 + 1) for n in range(60_000)]
    total = sum(size for _, size in named)
    for count in (total // 2, total - 1, WINDOW + 1):
        chosen = nearest_sum(named, count)
        assert sum(size for name, size in named if name in chosen) == count


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.sampled_from([(0.5, 0.5), (0.7, 0.2, 0.1), (1.0,)]))
def test_strata_add_up_to_the_cut_of_one_shuffle(sizes: list[int], shares: tuple[float, ...]) -> None:
    found = targets({f"s{n}": size for n, size in enumerate(sizes)}, shares)
    assert [sum(counts) for counts in found.values()] == sizes
    assert sum(counts[0] for counts in found.values()) == round(round(sum(sizes) * shares[0], 9))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.lists(st.integers(1, 9), min_size=1, max_size=10))
@example([0, 1, 3], [1] * 5)  # five folds: by remainders alone, a cut would lie before the one before it
@settings(max_examples=200, deadline=None)
def test_no_part_of_a_stratum_is_negative_and_every_split_has_its_rows(sizes: list[int], weights: list[int]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    found = targets({f"s{n}": size for n, size in enumerate(sizes)}, shares)
    assert min(min(counts) for counts in found.values()) >= 0
    assert [sum(counts) for counts in found.values()] == sizes
    cuts = [round(round(sum(sizes) * end, 9)) for end in accumulate(shares)]
    parts = [sum(column) for column in zip(*found.values(), strict=True)]
    assert list(accumulate(parts)) == [*cuts[:-1], sum(sizes)]


def test_the_published_half() -> None:
    groups = {f"r{n}": f"r{n}" for n in range(10_908)}
    rows = shuffle_rows()(groups, {"DA": 0.5, "DB": 0.5}, 42, {})
    assert [sum(row["split"] == fold for row in rows) for fold in ("DA", "DB")] == [5454, 5454]
    assert rows == shuffle_rows()(groups, {"DA": 0.5, "DB": 0.5}, 42, {})
