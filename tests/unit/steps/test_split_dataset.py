"""The published splitter: its arguments, its lines, its draw; and every byte of every line."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from finetrail.rows.records import read_jsonl
from finetrail.splits.shuffles import shuffle_rows
from folds import split_dataset
from ingest.readers import responses
from tests.conftest import ROOT


def test_it_runs_alone_and_prints_the_published_lines(folder: Path) -> None:
    lines = [f'{{"n": {n}}}\n' for n in range(10_908)]
    Path("CAL_inference.jsonl").write_text("".join(lines))
    script = Path("split_dataset.py")
    script.write_text((ROOT / "scripts/folds/split_dataset.py").read_text())
    command = [sys.executable, "-I", "split_dataset.py", "CAL_inference.jsonl"]
    outputs = ["--output1", "DA/train.jsonl", "--output2", "DB/train.jsonl"]
    done = subprocess.run([*command, *outputs], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == (
        "Reading data from CAL_inference.jsonl...\n"
        "Total lines: 10908\n"
        "Shuffling data...\n"
        "Writing 5454 lines to DA/train.jsonl...\n"
        "Writing 5454 lines to DB/train.jsonl...\n"
        "\n"
        "Split complete!\n"
        "  Part 1: 5454 lines (50.0%)\n"
        "  Part 2: 5454 lines (50.0%)\n"
    )
    shuffled = list(lines)
    random.seed(42)
    random.shuffle(shuffled)
    assert Path("DA/train.jsonl").read_text() == "".join(shuffled[:5454])
    assert Path("DB/train.jsonl").read_text() == "".join(shuffled[5454:])
    groups = {line: line for line in lines}
    rows = shuffle_rows()(groups, {"DA": 0.5, "DB": 0.5}, 42, {})
    assert {row["id"] for row in rows if row["split"] == "DA"} == set(shuffled[:5454])


def test_the_bundled_examples_are_laid_out_as_the_original_lays_them_out(folder: Path) -> None:
    bundled = ROOT / "data/cal/finished"
    source, halves = bundled / "CAL_inference.jsonl", [f"{name}/train.jsonl" for name in ("DA", "DB")]
    assert split_dataset.main([str(source), "--output1", halves[0], "--output2", halves[1]]) == 0
    assert [Path(half).read_bytes() for half in halves] == [(bundled / half).read_bytes() for half in halves]
    for file in (source, *(bundled / half for half in halves)):
        rows = [line.row for line in read_jsonl(file)]
        records = list(responses.read_records([file], images_root=None))
        assert [row.keys() for row in rows] == [{"prompt", "response"}] * len(records)
        assert [(record["question"], record["answer"]) for record in records] == [(*row.values(),) for row in rows]
        assert all(record["choice"]["options"][2] == "Unknown" for record in records)
        assert {record["choice"]["key"] for record in records} == {0, 1, 2}


def test_defaults_and_bytes(folder: Path) -> None:
    lines = [b"\xef\xbb\xbf{}\r\n", b"\xff\xfe not utf-8\n", b"\n", "é\u2028 x\n".encode(), b"no break at the end"]
    Path("in.data.jsonl").write_bytes(b"".join(lines))
    assert split_dataset.main(["in.data.jsonl", "--ratio", "0.6", "--seed", "7"]) == 0
    parts = [Path(f"in.data_part{number}.jsonl").read_bytes() for number in (1, 2)]
    shuffled = [*lines[:-1], lines[-1] + b"\n"]
    random.Random(7).shuffle(shuffled)
    assert parts == [b"".join(shuffled[:3]), b"".join(shuffled[3:])]
    assert [path.name for path in Path().glob(".in*")] == []


@pytest.mark.parametrize(("ratio", "count"), [("0", 0), ("1", 7), ("0.5", 4), ("0.3", 2)])
def test_the_first_part_has_the_rounded_share(folder: Path, ratio: str, count: int) -> None:
    Path("in.jsonl").write_text("x\n" * 7)
    assert split_dataset.main(["in.jsonl", "--ratio", ratio]) == 0
    assert len(Path("in_part1.jsonl").read_text().splitlines()) == count


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["none.jsonl"], "none.jsonl: No such file"),
        (["empty.jsonl"], "empty.jsonl is empty"),
        (["."], ". is no regular file"),
        (["/dev/null"], "/dev/null is no regular file"),
        (["in.jsonl", "--output1", "in.jsonl"], "three different files"),
        (["in.jsonl", "--output1", "a", "--output2", "./a"], "three different files"),
    ],
)
def test_what_cannot_be_split(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], cause: str
) -> None:
    Path("empty.jsonl").write_text("")
    Path("in.jsonl").write_text("x\n")
    assert split_dataset.main(arguments) == 1
    assert cause in capsys.readouterr().err
    assert Path("in.jsonl").read_text() == "x\n"


def test_a_full_disk_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")  # as a write raises it: without a file's name

    Path("in.jsonl").write_text("x\n")
    monkeypatch.setattr(split_dataset, "write_part", full)
    assert split_dataset.main(["in.jsonl"]) == 1
    assert capsys.readouterr().err == "split_dataset: No space left on device\n"


@pytest.mark.parametrize(
    ("ratio", "cause"), [("1.5", "1.5 is not from 0.0 to 1.0"), ("nan", "nan is not"), ("half", "half is no number")]
)
def test_another_ratio_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], ratio: str, cause: str) -> None:
    with pytest.raises(SystemExit):
        split_dataset.main(["in.jsonl", "--ratio", ratio])
    assert cause in capsys.readouterr().err
