"""The heartbeat of a job, and the lines that its log gets while it works."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.step.journal import SCHEMA, Journal
from finetrail.step.progress import Progress
from finetrail.step.reporter import BEAT_S, LINE_S, Pulse

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 60
# A job whose pulse is quick, and which waits in the middle of its rows until its standard input ends.
PROGRAM = """
import sys
from finetrail.step import reporter
from finetrail.step.step import add_input, run_step, step_parser
reporter.TICK_S = reporter.BEAT_S = 0.02

def work(step, args):
    for number, row in enumerate(step.rows(args.rows)):
        if number == 3:
            how = sys.stdin.readline().strip()
            if how:
                raise ValueError(how)
    step.count(rows_in=10, kept=10)

parser = step_parser("A job.")
add_input(parser, "--rows", "rows")
sys.exit(run_step(parser, ["--recipe", "mine", "--rows", "rows.jsonl", "--meta", "out/a.meta.json"], "a_rule.py", work))
"""


@pytest.fixture
def pulse(clean_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pulse:
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "runs" / "this_run"))
    return Pulse(Journal("a_rule", "mine", "a_rule.out.a"))


def beat_of(pulse: Pulse) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(pulse._journal.heartbeat_path.read_text())
    return content


def test_a_heartbeat_says_who_runs_and_how_far_it_is(pulse: Pulse) -> None:
    progress = Progress("rows", 10)
    pulse.watch(progress)
    progress.advance(4)
    pulse.report(time.monotonic())
    beat = beat_of(pulse)
    who = {"schema": SCHEMA, "rule": "a_rule", "recipe": "mine", "run": "this_run", "status": "running"}
    assert beat.items() >= (who | {"pid": os.getpid(), "job": "a_rule.out.a"}).items()
    assert beat["progress"].items() >= {"label": "rows", "done": 4, "total": 10, "total_is_estimate": False}.items()
    assert beat["started"] <= beat["progress"]["moved"] <= beat["updated"]


def test_a_heartbeat_is_written_when_it_is_due(pulse: Pulse) -> None:
    progress = Progress("rows", 10)
    pulse.watch(progress)
    now = time.monotonic()
    pulse.report(now)
    progress.advance()
    pulse.report(now + BEAT_S - 0.1)
    assert beat_of(pulse)["progress"]["done"] == 0
    pulse.report(now + BEAT_S)
    assert beat_of(pulse)["progress"]["done"] == 1
    assert BEAT_S <= 60


def test_the_log_gets_a_line_a_minute_also_when_nothing_moves(pulse: Pulse, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    progress = Progress("rows", 10)
    pulse.start()
    pulse.stop()
    pulse.watch(progress)
    progress.advance(5)
    began = time.monotonic()
    for second in range(int(3 * LINE_S) + 2):
        pulse.report(began + second)
    assert [record.message.split(",")[0] for record in caplog.records] == ["rows: 5/10"] * 3


def test_a_heartbeat_that_cannot_be_written_is_reported_once(pulse: Pulse, caplog: pytest.LogCaptureFixture) -> None:
    pulse._journal.heartbeat_path.parent.parent.mkdir(parents=True)
    pulse._journal.heartbeat_path.parent.write_text("a file where the folder should be")
    for beats in range(3):
        pulse.report(time.monotonic() + beats * BEAT_S)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.fixture
def job(clean_environment: None, tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    (tmp_path / "rows.jsonl").write_text('{"id": "r"}\n' * 10)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "FINETRAIL_RUN": str(tmp_path / "run")}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_beat(folder: Path, done: int) -> dict[str, Any]:
    """Return the first heartbeat that says that so many rows are done."""
    folder /= "run/heartbeats"
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        for path in folder.glob("a_rule.out.a.*.json"):
            beat: dict[str, Any] = json.loads(path.read_text())
            if beat.get("progress", {}).get("done") == done:
                return beat
        time.sleep(0.01)
    raise AssertionError(f"no heartbeat says {done} rows")


def test_a_job_that_is_killed_leaves_its_last_heartbeat_whole(job: "subprocess.Popen[str]", tmp_path: Path) -> None:
    beat = wait_for_beat(tmp_path, 3)
    assert (beat["pid"], beat["progress"]["total"]) == (job.pid, 10)
    job.send_signal(signal.SIGKILL)
    job.wait(DEADLINE_S)
    last = wait_for_beat(tmp_path, 3)
    assert last["status"] == "running" and last["ended"] is None
    assert last["updated"] >= beat["updated"]


@pytest.mark.parametrize(("said", "status", "done"), [("", "complete", 10), ("no good", "failed", 3)])
def test_the_last_heartbeat_says_how_the_job_ended(
    job: "subprocess.Popen[str]", tmp_path: Path, said: str, status: str, done: int
) -> None:
    wait_for_beat(tmp_path, 3)
    job.communicate(f"{said}\n", DEADLINE_S)
    beat = wait_for_beat(tmp_path, done)
    assert (beat["status"], beat.get("error")) == (status, f"ValueError: {said}" if said else None)
    assert beat["ended"] is not None
    if status == "complete":
        assert beat["counts"]["kept"] == 10
    record = json.loads(next((tmp_path / "run/jobs").glob("*.json")).read_text())
    assert {name: record[name] for name in ("schema", "rule", "run", "pid", "started", "ended", "status")} == {
        name: beat[name] for name in ("schema", "rule", "run", "pid", "started", "ended", "status")
    }, "one schema"
