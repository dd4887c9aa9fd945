import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.passages import read_passages
from ingest.readers.hotpotqa import read_records

DATA = Path(__file__).parents[3] / "data/hotpotqa"
ROW = {
    "_id": "q1",
    "question": " Which came first? ",
    "answer": "Arthur's Magazine",
    "supporting_facts": [["Arthur's Magazine", 0]],
    "context": [["Arthur's Magazine", ["Founded in 1844."]]],
    "type": "comparison",
    "level": "easy",
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps(list(rows)))
    return path


def test_bundled_rows_become_records_whose_pages_are_in_the_corpus() -> None:
    files = [DATA / "train_100.jsonl", DATA / "dev_40.jsonl"]
    records = list(read_records(files, images_root=None))
    assert len(records) == len({record["id"] for record in records}) == 140
    pages = {passage["page"] for passage in read_passages(files, [])}
    assert {page for record in records for page in record["hops"]["context"]} == pages


def test_the_official_list_gives_the_same_records_as_lines(tmp_path: Path) -> None:
    listed = write(tmp_path / "rows.json", ROW)
    lines = tmp_path / "rows.jsonl"
    lines.write_text(json.dumps(ROW) + "\n")
    (first,), (second,) = (list(read_records([path], images_root=None)) for path in (listed, lines))
    assert first | {"origin": None} == second | {"origin": None}
    assert first["question"] == "Which came first?"
    assert first["hops"]["supporting_facts"] == [["Arthur's Magazine", 0]]


def test_all_bad_rows_are_named(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        ROW,
        ROW,
        ROW | {"_id": "q2", "supporting_facts": [["A"]]},
        {"_id": "q3", "question": "?", "context": []},
    ]
    with pytest.raises(FinetrailError) as caught:
        list(read_records([write(tmp_path / "rows.json", *rows)], images_root=None))
    said = str(caught.value)
    assert "duplicate _id 'q1'" in said
    assert "`supporting_facts` is no list" in said
    assert "`answer` is missing" in said and "`context` is no list" in said


def test_held_out_files_are_the_tests_and_near_them_nothing_is_trained(
    tmp_path: Path, run_script: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    train = [ROW | {"_id": f"t{number}", "question": f"Question {number}?"} for number in range(20)]
    test = [ROW | {"_id": f"d{number}", "question": f"Test {number}?"} for number in range(3)]
    test.append(ROW | {"_id": "d3", "question": "Question 7?"})
    write(tmp_path / "train.json", *train)
    write(tmp_path / "test.json", *test)
    source = {"format": "hotpotqa", "images": None, "fetch": None}
    done = run_script(
        "ingest/ingest_records.py", "--files", "train.json", "--held-out", "test.json", "--settings",
        json.dumps({"source": source, "limit": 15}), "--out", "records.jsonl", "--meta", "records.meta.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert len(records) == 19 and sum("held_out" in record for record in records) == 4
    splits = {
        "train": 0.8, "dev": 0.2, "test": 0.0, "seed": 1, "method": "hash", "near_duplicates": None,
        "group_by": ["session", "question"], "fold_shares": [], "stratify_by": None, "largest_group": 0.5,
    }  # fmt: skip
    done = run_script(
        "ingest/make_splits.py", "--rows", "records.jsonl", "--settings",
        json.dumps({"splits": splits, "folds": {"names": ["fold0"]}, "limit": None}),
        "--out", "splits.jsonl", "--meta", "splits.meta.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assigned = {row["id"]: row for row in map(json.loads, (tmp_path / "splits.jsonl").read_text().splitlines())}
    for record in records:
        split = assigned[record["id"]]["split"]
        if "held_out" in record:
            assert split == "test"
        elif record["question"] == "Question 7?":
            assert split == "withheld" and "held-out record" in assigned[record["id"]]["reason"]
        else:
            assert split in ("train", "dev")
