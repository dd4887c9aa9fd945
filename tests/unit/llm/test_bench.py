"""The bench of the engine: it says why rows were given up, and blames the engine for no machine that stood still."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

BENCH = Path(__file__).resolve().parents[3] / "bench"
WATCHED = """
from standstill import Standstill
standstill = Standstill()
print("begun", flush=True)
input()
print(standstill.longest_s)
"""
STOPPED_S = 0.5


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    import llm

    return llm


def test_a_process_that_was_stopped_knows_for_how_long() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED], cwd=BENCH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGSTOP)
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            pass
        time.sleep(STOPPED_S)
        os.kill(process.pid, signal.SIGCONT)
        said, _ = process.communicate("\n", timeout=60)
    assert float(said) > STOPPED_S / 2


def test_figures_of_a_client_that_stood_still_are_refused(
    llm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    figures = {
        "engine": {"stood_still_s": llm.TIMEOUT_S},
        "bare": {"stood_still_s": 0.1},
        "curator": {"not_run": "why"},
    }
    monkeypatch.setattr(llm, "run", lambda calls, names: figures)
    monkeypatch.setattr(llm, "RESULTS", tmp_path / "llm.json")
    monkeypatch.setattr(sys, "argv", ["llm.py"])
    with pytest.raises(SystemExit, match=r"^engine: the process stood still for 1\.0 s or more"):
        llm.main()
    assert not (tmp_path / "llm.json").exists()


@pytest.mark.heavy
def test_every_row_has_an_answer_or_it_is_said_why_not() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "llm.py"), "--calls", "200", "--only", "engine", "bare_aiohttp"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    figures = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    for name in ("engine", "bare_aiohttp"):
        found = json.loads(figures[name])
        assert found["answers"] + sum(found["given_up"].values()) == 200, done.stderr
        assert found.get("stored", found["answers"]) == found["answers"] > 0
