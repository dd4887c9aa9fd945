"""Planted leaks, bridges, growing data and large groups, through the step itself."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, read_rows, write_jsonl
from finetrail.splits.split_table import Assigned, prove_disjoint
from ingest import make_splits
from tests.unit.splits.texts import changed, text_of

NEAR = {"threshold": 0.8, "shingle_words": 5, "least_words": 0}


def record(name: str, session: str | None, image: str | None = None, document: str | None = None, **more: Any) -> Row:
    keys = {"session": session, "image": image, "document": document}
    return {"id": name, "group_keys": keys, "question": text_of(name), "answer": "yes", **more}


def sessions(count: int, start: int = 0) -> list[Row]:
    return [record(f"r{n}", f"s{n // 3}") for n in range(3 * start, 3 * (start + count))]


@pytest.fixture(autouse=True)
def in_folder(folder: Path) -> None:
    """Every test works in an empty folder."""


def run(rows: list[Row], *, previous: bool = False, folds: tuple[str, ...] = ("fold0",), **changes: Any) -> int:
    write_jsonl(Path("records.jsonl"), rows)
    splits = {"train": 0.6, "dev": 0.2, "test": 0.2, "seed": 0, "method": "hash", "previous": None, "fold_shares": []}
    splits |= {"group_by": ["session", "image", "document"], "near_duplicates": None, "stratify_by": None}
    splits |= {"largest_group": 0.2} | changes
    settings = {"splits": splits, "folds": {"names": list(folds)}, "limit": None}
    arguments = ["--rows", "records.jsonl", "--out", "splits.jsonl", "--meta", "splits.meta.json"]
    arguments += ["--previous", "kept.jsonl"] if previous else []
    return make_splits.main([*arguments, "--settings", json.dumps(settings)])


def result() -> dict[str, Row]:
    return {row["id"]: row for row in read_rows(Path("splits.jsonl"))}


def keep() -> dict[str, Row]:
    Path("splits.jsonl").rename("kept.jsonl")
    return {row["id"]: row for row in read_rows(Path("kept.jsonl"))}


def two_apart(rows: dict[str, Row]) -> tuple[str, str]:
    """Return records of train and of test."""
    return tuple(next(name for name, row in rows.items() if row["split"] == split) for split in ("train", "test"))  # type: ignore[return-value]


def test_sessions_that_share_an_image_and_near_duplicates_across_documents_never_straddle() -> None:
    rows = [record(f"r{n}", f"s{n}", document=f"d{n}") for n in range(120)]
    assert run(rows, near_duplicates=NEAR) == 0
    apart = result()
    left, right = two_apart(apart)
    by_id = {row["id"]: row for row in rows}
    by_id[left]["group_keys"]["image"] = by_id[right]["group_keys"]["image"] = "shared"
    pairs = [(f"r{n}", f"r{n + 60}") for n in range(20) if not {f"r{n}", f"r{n + 60}"} & {left, right}]
    divided = [pair for pair in pairs if apart[pair[0]]["split"] != apart[pair[1]]["split"]]
    assert divided, "without the near-duplicates some of the pairs are divided"
    for first, second in pairs:
        by_id[second]["question"] = changed(by_id[first]["question"])
    assert run(rows, near_duplicates=NEAR) == 0
    joined = result()
    for first, second in [*pairs, (left, right)]:
        assert joined[first]["split"] == joined[second]["split"]
        assert joined[first]["group"] == joined[second]["group"]
    assert joined[pairs[0][1]]["near"] == {"id": pairs[0][0], "jaccard": pytest.approx(52 / 62, abs=0.02)}
    proof = json.loads(Path("splits.meta.json").read_text())["proof"]
    assert (proof["straddling"], proof["near_duplicates"]) == (0, len(pairs))


@pytest.mark.parametrize("kind", ["session", "image", "document", "day", "template", "cluster"])
def test_a_leak_of_each_kind_is_joined_and_the_proof_finds_it_where_it_is_not(kind: str) -> None:
    keys = ["session", "image", "document", "day", "template"]
    rows: list[Row] = [
        {"id": f"r{n}", "group_keys": {key: f"{key}{n}" for key in keys}, "question": text_of(f"r{n}"), "answer": "yes"}
        for n in range(60)
    ]
    changes: dict[str, Any] = {"group_by": keys, "near_duplicates": NEAR}
    assert run(rows, **changes) == 0
    left, right = two_apart(result())
    first, second = sorted((rows[int(left[1:])], rows[int(right[1:])]), key=lambda row: int(row["id"][1:]))
    if kind == "cluster":
        second["question"] = changed(first["question"])
    else:
        second["group_keys"][kind] = first["group_keys"][kind]
    assert run(rows, **changes) == 0
    joined = result()
    assert joined[left]["split"] == joined[right]["split"]
    divided = [row | {"split": "dev" if row["id"] == second["id"] else "train"} for row in joined.values()]
    divided = [row | ({"group": "its own"} if row["id"] == second["id"] else {}) for row in divided]
    with pytest.raises(
        FinetrailError, match=f"near-duplicate {first['id']}" if kind == "cluster" else f"{kind}={kind}"
    ):
        prove_disjoint(rows, Assigned(divided))


def test_ten_percent_more_records_move_no_old_one() -> None:
    assert run(sessions(100)) == 0
    old = keep()
    late = [record(f"late{n}", f"s{n}") for n in range(10)]
    for previous in (False, True):
        assert run([*sessions(10, start=200), *late, *sessions(100)], previous=previous) == 0
        new = result()
        assert {name: new[name]["split"] for name in old} == {name: row["split"] for name, row in old.items()}
        assert all(new[f"late{n}"]["split"] == old[f"r{3 * n}"]["split"] for n in range(10))
        assert len(new) == 340


@pytest.mark.parametrize("kind", ["image", "near", "both"])
def test_a_new_record_between_two_splits_is_withheld_and_listed(kind: str) -> None:
    rows = [record(f"r{n}", f"s{n}", image=f"i{n}") for n in range(60)]
    assert run(rows, near_duplicates=NEAR) == 0
    old = keep()
    left, right = two_apart(old)
    bridge = record("bridge", f"s{left[1:]}", image=f"i{right[1:]}" if kind != "near" else None)
    if kind != "image":
        bridge["question"] = changed(text_of(right))
    again = dict(bridge, id="again", question=text_of("again") if kind == "image" else bridge["question"])
    assert run([bridge, again, *rows], previous=True, near_duplicates=NEAR) == 0
    new = result()
    assert {name: new[name]["split"] for name in old} == {name: row["split"] for name, row in old.items()}
    for name in ("bridge", "again"):
        assert new[name]["split"] == "withheld"
        assert "is in train" in new[name]["reason"]
        assert "is in test" in new[name]["reason"]
        assert new[name]["group"] not in {row["group"] for row in old.values()}
    meta = json.loads(Path("splits.meta.json").read_text())
    assert set(meta["withheld"]) == {"bridge", "again"}
    assert meta["counts"] == {"in": 62, "kept": 60, "dropped": {"withheld": 2}, "quarantined": 0}


def test_bridges_between_folds_are_withheld_too_and_folds_stay() -> None:
    shares: dict[str, Any] = {"train": 0.9, "dev": 0.1, "test": 0.0}
    rows = [record(f"r{n}", f"s{n}", image=f"i{n}") for n in range(60)]
    assert run(rows, folds=("DA", "DB"), **shares) == 0
    old = keep()
    left, right = (next(name for name, row in old.items() if row["fold"] == fold) for fold in ("DA", "DB"))
    bridge = record("bridge", f"s{left[1:]}", image=f"i{right[1:]}")
    assert run([*rows, bridge, record("new", "new")], previous=True, folds=("DA", "DB"), **shares) == 0
    new = result()
    assert all((new[name]["fold"], new[name]["split"]) == (row["fold"], row["split"]) for name, row in old.items())
    assert "fold" not in new["bridge"]
    assert new["bridge"]["split"] == "withheld"
    assert new["new"]["fold"] in ("DA", "DB")


def test_an_earlier_assignment_that_divides_a_group_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(sessions(30), method="shuffle") == 0
    keep()
    assert run(sessions(30), previous=True) == 1
    assert "the previous assignment divides what belongs together" in capfd.readouterr().err.splitlines()[-1]


def test_an_earlier_assignment_with_other_splits_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(sessions(30)) == 0
    keep()
    assert run(sessions(30), previous=True, train=0.8, dev=0.2, test=0.0) == 1
    assert "the previous assignment has test, and now there are train, dev only" in capfd.readouterr().err


def test_a_group_above_a_fifth_of_the_rows_stops_with_its_largest_edge(capfd: pytest.CaptureFixture[str]) -> None:
    rows = sessions(100)
    for row in rows[:180:3]:
        row["group_keys"]["image"] = "logo.png"
    assert run(rows) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert "one group holds 180 of 300 rows, 60.0%" in last
    assert "its largest edge is image=logo.png, which joins 60 rows" in last
    assert not Path("splits.jsonl").exists()
    assert run(rows, largest_group=0.6) == 0


def test_too_few_rows_are_called_too_few(capfd: pytest.CaptureFixture[str]) -> None:
    rows = [record(f"r{number}", f"s{number}") for number in range(3)]
    assert run(rows) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert "splits: there are 3 rows, too few: one alone is 33.3% of them. Add records, or raise" in last
    assert run(rows, largest_group=0.5) == 0


def test_a_group_held_together_by_texts_names_them(capfd: pytest.CaptureFixture[str]) -> None:
    rows = sessions(100)
    for row in rows[:180:3]:
        row["question"] = text_of("boilerplate")
    assert run(rows, near_duplicates=NEAR) == 1
    assert "its largest edge is near-duplicate texts (such as r3 and r0), which joins 60" in capfd.readouterr().err


def test_grouped_shuffles_come_as_near_as_groups_allow_and_say_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(sessions(100), method="shuffle_groups", train=0.5, dev=0.25, test=0.25) == 0
    counts = Counter(row["split"] for row in result().values())
    assert counts == {"train": 150, "dev": 75, "test": 75}
    assert run(sessions(101), method="shuffle_groups", train=0.5, dev=0.25, test=0.25) == 0
    counts = Counter(row["split"] for row in result().values())
    assert counts["train"] in (150, 153)
    assert "train: 150 rows, -2 to its share of 152" in capfd.readouterr().err or counts["train"] == 153
    assert json.loads(Path("splits.meta.json").read_text())["proof"]["straddling"] == 0


@pytest.mark.parametrize("method", ["shuffle", "shuffle_groups"])
def test_strata_keep_the_shares(method: str) -> None:
    rows = [
        row | {"extra": {"category": "rare" if n // 3 % 10 == 0 else "common"}} for n, row in enumerate(sessions(200))
    ]
    assert run(rows, method=method, stratify_by="category", train=0.5, dev=0.25, test=0.25) == 0
    kind = {row["id"]: row["extra"]["category"] for row in rows}
    counts = Counter((kind[name], row["split"]) for name, row in result().items())
    assert {split: counts["rare", split] for split in ("train", "dev", "test")} == {"train": 30, "dev": 15, "test": 15}
    assert counts["common", "train"] == 270


def test_a_stratum_that_records_lack_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(sessions(30), method="shuffle", stratify_by="category") == 1
    assert "splits.stratify_by (r0): the record has no category" in capfd.readouterr().err
