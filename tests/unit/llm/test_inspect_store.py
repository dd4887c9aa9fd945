"""The command that looks into a call store."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetrail.calls.inspect_store import main
from finetrail.calls.segment import StoredCall
from finetrail.calls.store import CallStore
from tests.unit.llm.test_call_store import fill, make_call

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


def test_a_whole_store(tmp_path: Path) -> None:
    fill(tmp_path, range(5))
    command = [sys.executable, "-m", "finetrail.calls.inspect_store", "verify", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "5 calls in 1 segments are whole, 0 torn, 0 damaged\n"


def test_damage_is_named_by_file_and_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, range(3))
    (segment,) = tmp_path.glob("*.jsonl")
    content = segment.read_bytes()
    second = content.index(b"\n") + 1
    segment.write_bytes(content[: second + 100] + b"#" + content[second + 101 :])
    assert main(["verify", str(tmp_path)]) == 1
    assert f"damaged: {tmp_path}/{segment.name}: byte {second}: the check sum does not fit" in capsys.readouterr().out


def test_a_torn_record_is_named_and_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, range(3))
    (segment,), (index,) = tmp_path.glob("*.jsonl"), tmp_path.glob("*.idx")
    index.unlink()
    segment.write_bytes(segment.read_bytes()[:-20])
    start = segment.read_bytes().rindex(b"\n") + 1
    assert main(["verify", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"torn: {tmp_path}/{segment.name}: byte {start}: " in out
    assert "2 calls in 1 segments are whole, 1 torn, 0 damaged" in out


def test_a_closed_segment_that_lost_its_end_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, range(3))
    (segment,) = tmp_path.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-20])
    assert main(["verify", str(tmp_path)]) == 1
    assert f"damaged: {tmp_path}/{segment.name}: it is shorter than its index says" in capsys.readouterr().out


def test_stats_by_model_and_phase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with CallStore(tmp_path) as store:
        for number in range(6):
            call = make_call(number)
            answer = dict(call.answer) | {"usage": {"prompt_tokens": 1000, "completion_tokens": number}}
            phase = "label" if number % 3 else "judge"
            store.put(StoredCall.make(call.key, answer, call.request, dict(call.paid) | {"phase": phase}))
    assert main(["stats", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["model", "phase", "calls", "prompt_tokens", "completion_tokens"],
        ["(all", "models)", "(all", "phases)", "6", "6,000", "15"],
        ["m", "(all", "phases)", "6", "6,000", "15"],
        ["m", "judge", "2", "2,000", "3"],
        ["m", "label", "4", "4,000", "12"],
        ["6", "different", "requests"],
    ]


def test_an_empty_store_and_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [main([command, str(tmp_path)]) for command in ("verify", "stats")] == [0, 0]
    assert main(["stats", str(tmp_path / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
