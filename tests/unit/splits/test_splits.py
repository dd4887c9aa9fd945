import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrail.errors import FinetrailError
from finetrail.splits.assign import assign, assign_folds
from finetrail.splits.grouping import chosen_keys, group_rows
from finetrail.splits.shuffles import shuffle_rows
from finetrail.splits.split_table import Assigned, prove_disjoint
from ingest.readers.crag_mm import read_records

SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}
TURNS = Path(__file__).parents[3] / "data/crag_mm/turns.jsonl"


def row(number: int, session: str | None, image: str | None = None) -> dict[str, Any]:
    return {"id": f"r{number}", "group_keys": {"session": session, "image": image}}


def test_a_shared_image_joins_sessions_and_chains_are_followed() -> None:
    rows = [
        row(0, "a", "x"),
        row(1, "b", "x"),
        row(2, "b", "y"),
        row(3, "c", "y"),
        row(4, "d"),
        row(5, "e", "z"),
    ]
    groups = group_rows(rows)
    assert len({groups[f"r{i}"] for i in range(4)}) == 1
    assert len(set(groups.values())) == 3
    assert group_rows(reversed(rows)) == groups


def test_nothing_joins_rows_without_keys_or_equal_values_of_different_keys() -> None:
    assert len(set(group_rows([row(0, None), row(1, None), row(2, "x"), row(3, None, "x")]).values())) == 4


def test_repeated_id_is_an_error() -> None:
    with pytest.raises(FinetrailError, match="r1: the id occurs twice"):
        group_rows([row(1, "a"), row(1, "b")])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60) | st.none()), min_size=60, max_size=150),
    st.integers(0, 5),
)
def test_splits_are_disjoint_and_independent_of_order(keys: list[tuple[int, int | None]], seed: int) -> None:
    rows = [row(i, str(s), None if image is None else str(image)) for i, (s, image) in enumerate(keys)]
    groups = group_rows(rows)
    try:
        splits = assign(groups, SHARES, seed)
    except FinetrailError as error:
        assert len(set(groups.values())) < len(SHARES), error
        return
    proof = prove_disjoint(rows, Assigned(splits))
    assert sum(proof["rows"].values()) == len(rows)
    assert set(proof["rows"]) == set(SHARES)
    shuffled = random.Random(seed).sample(rows, len(rows))
    again = assign(group_rows(shuffled), SHARES, seed)
    assert {r["id"]: r for r in again} == {r["id"]: r for r in splits}
    assert [r["id"] for r in again] == [r["id"] for r in shuffled]


def test_new_records_move_no_old_one() -> None:
    old = [row(i, str(i // 3)) for i in range(300)]
    new = [row(1000 + i, f"new{i // 3}") for i in range(30)]
    before = assign(group_rows(old), SHARES, 0)
    after = assign(group_rows([*new, *old]), SHARES, 0)
    assert after[30:] == before


def test_the_seed_matters_and_many_groups_come_near_their_shares() -> None:
    groups = group_rows(row(i, str(i)) for i in range(10_000))
    first, second = assign(groups, SHARES, 0), assign(groups, SHARES, 1)
    counts = Counter(r["split"] for r in first)
    # Four standard deviations of a binomial count.
    for split, share in SHARES.items():
        deviation = (10_000 * share * (1 - share)) ** 0.5
        assert abs(counts[split] - share * 10_000) < 4 * deviation
    assert first != second


@pytest.mark.parametrize(
    ("shares", "cause"),
    [
        ({"train": 0.5, "dev": 0.4}, "add up to 1"),
        ({"train": 1.2, "dev": -0.2}, "above 0"),
        ({}, "found none"),
        ({"train": 0.4, "dev": 0.2, "test": 0.2, "more": 0.2}, "there are 3 groups for 4 splits"),
    ],
)
def test_impossible_shares_are_refused(shares: dict[str, float], cause: str) -> None:
    with pytest.raises(FinetrailError, match=cause):
        assign(group_rows(row(i, str(i)) for i in range(3)), shares, 0)


@pytest.mark.parametrize("seed", range(20))
def test_a_few_groups_fill_every_split(seed: int) -> None:
    rows = [row(i, str(i // 4)) for i in range(12)]
    shares = {"train": 0.96, "dev": 0.02, "test": 0.02}
    splits = assign(group_rows(rows), shares, seed)
    assert prove_disjoint(rows, Assigned(splits))["groups"] == 3
    assert {r["split"] for r in splits} == set(SHARES)
    for r in splits:
        if r["split"] != "train":
            assert r["reason"].startswith(("no group fell into [0.9", "hash 0.9"))
    shuffled = assign(
        group_rows(random.Random(seed).sample(rows, 12)), {"train": 0.96, "dev": 0.02, "test": 0.02}, seed
    )
    assert {r["id"]: r for r in shuffled} == {r["id"]: r for r in splits}


def test_a_group_key_that_no_record_has_is_refused() -> None:
    record = {"id": "r1", "group_keys": {"session": "s", "image": None}}
    assert chosen_keys(record, ["image"]) == {"image": None}
    with pytest.raises(FinetrailError, match=r"splits.group_by \(r1\): the records have no group key sesion"):
        chosen_keys(record, ["sesion"])


def test_the_proof_catches_planted_leaks() -> None:
    rows = [row(i, str(i // 3), f"image{i // 3}") for i in range(30)]
    good = assign(group_rows(rows), SHARES, 0)
    prove_disjoint(rows, Assigned(good))
    other = {"train": "test", "dev": "train", "test": "dev"}
    moved = [{**r, "split": other[r["split"]]} if r["id"] == "r4" else r for r in good]
    with pytest.raises(FinetrailError, match="session=1 is in"):
        prove_disjoint(rows, Assigned(moved))
    home = {r["id"]: r["split"] for r in good}
    far = next(number for number in range(30) if home[f"r{number}"] != home["r0"])
    bridged = [row(i, str(i // 3), "image0" if i == far else f"image{i // 3}") for i in range(30)]
    with pytest.raises(FinetrailError, match="image=image0 is in"):
        prove_disjoint(bridged, Assigned(good))
    with pytest.raises(FinetrailError, match="r29: the record has no split"):
        prove_disjoint(rows, Assigned(good[:-1]))
    with pytest.raises(FinetrailError, match="do not match"):
        prove_disjoint(rows[:-1], Assigned(good))


def test_the_bundled_turns_split_by_session() -> None:
    rows = list(read_records([TURNS], images_root=None))
    proof = prove_disjoint(rows, Assigned(assign(group_rows(rows), SHARES, 0)))
    assert proof["groups"] == 28
    assert proof["straddling"] == 0


def seeds_own_split(lines: list[str], ratio: float, seed: int) -> tuple[list[str], list[str]]:
    """Shuffle and cut as the published pipeline says that it does."""
    shuffled = list(lines)
    random.seed(seed)
    random.shuffle(shuffled)
    cut = round(len(shuffled) * ratio)
    return shuffled[:cut], shuffled[cut:]


@pytest.mark.parametrize(("rows", "ratio", "sizes"), [(10908, 0.5, (5454, 5454)), (7, 0.5, (4, 3)), (10, 0.7, (7, 3))])
def test_the_shuffle_is_the_published_one_in_exact_numbers(rows: int, ratio: float, sizes: tuple[int, int]) -> None:
    ids = [f"r{number}" for number in range(rows)]
    groups = {row_id: f"g{number // 4}" for number, row_id in enumerate(ids)}
    splits = assign_folds(groups, {"DA": ratio, "DB": 1 - ratio}, {"train": 1.0}, 42, shuffle_rows())
    assert [row["id"] for row in splits] == ids
    found = [{row["id"] for row in splits if row["fold"] == fold} for fold in ("DA", "DB")]
    assert found == [set(part) for part in seeds_own_split(ids, ratio, 42)]
    assert tuple(map(len, found)) == sizes
    assert {row["split"] for row in splits} == {"train"}


def test_a_shuffle_lets_groups_straddle_and_the_proof_counts_them() -> None:
    rows = [row(i, str(i // 4)) for i in range(400)]
    groups = group_rows(rows)
    splits = assign_folds(groups, {"DA": 0.5, "DB": 0.5}, {"train": 1.0}, 42, shuffle_rows())
    with pytest.raises(FinetrailError, match="records straddle splits"):
        prove_disjoint(rows, Assigned(splits))
    homes = {r["id"]: r["fold"] for r in splits}
    first = {session: homes[f"r{4 * session}"] for session in range(100)}
    straddling = sum(homes[f"r{i}"] != first[i // 4] for i in range(400))
    assert straddling > 100
    assert prove_disjoint(rows, Assigned(splits), allowed=True)["straddling"] == straddling


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 90), st.integers(0, 30), st.sampled_from([("DA", "DB"), ("a", "b", "c")]))
def test_no_group_is_in_two_folds_or_in_train_and_dev(sessions: int, seed: int, names: tuple[str, ...]) -> None:
    rows = [row(i, str(i // 3)) for i in range(3 * sessions)]
    groups = group_rows(rows)
    splits = assign_folds(groups, dict.fromkeys(names, 1 / len(names)), {"train": 0.8, "dev": 0.2}, seed, assign)
    assert [r["id"] for r in splits] == [r["id"] for r in rows]
    assert {(r["fold"], r["split"]) for r in splits} == {(name, split) for name in names for split in ("train", "dev")}
    homes: dict[str, set[tuple[str, str]]] = {}
    for r in splits:
        homes.setdefault(r["group"], set()).add((r["fold"], r["split"]))
    assert all(len(places) == 1 for places in homes.values())
    assert prove_disjoint(rows, Assigned(splits))["straddling"] == 0


def test_a_group_that_is_in_two_folds_is_found() -> None:
    rows = [row(i, str(i // 4)) for i in range(80)]
    splits = assign_folds(group_rows(rows), {"DA": 0.5, "DB": 0.5}, {"train": 1.0}, 0, assign)
    other = {"DA": "DB", "DB": "DA"}
    moved = [{**r, "fold": other[r["fold"]]} if r["id"] == "r5" else r for r in splits]
    with pytest.raises(FinetrailError, match="session=1 is in"):
        prove_disjoint(rows, Assigned(moved))
