"""Runs that were cut off: which are found, what of them still works, and what `make status` says of them."""

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from finetrail.cluster import runs, table
from finetrail.cluster.queue import QueuedJob
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json, write_json
from finetrail.step.journal import Journal

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def beat(**changes: Any) -> dict[str, Any]:
    """Return a heartbeat as a job writes it, of a job of SLURM with two GPUs that began half an hour ago."""
    facts = {"rule": "train_adapter", "job": "train_adapter.x", "status": "running", "host": "node7", "pid": 1}
    times = {"started": "2026-03-04T11:30:00Z", "ended": None, "updated": "2026-03-04T11:59:50Z"}
    progress = {"done": 30, "total": 90, "per_second": 0.5, "seconds_left": 120.0}
    return facts | times | {"slurm_job": "12", "gpus": 2, "progress": progress} | changes


def job(**changes: Any) -> QueuedJob:
    facts = {"id": "12", "state": "RUNNING", "elapsed": "30:00", "reason": "None", "rule": "train_adapter"}
    return QueuedJob(**(facts | {"wildcards": ""} | changes))


def test_a_run_without_an_end_was_cut_off(tmp_path: Path) -> None:
    first, second = (tmp_path / "logs/tutorial/runs" / name for name in ("20260101T000000Z-aa", "20260102T000000Z-bb"))
    for run in (first, second):
        runs.note_master(run, ["--profile", "slurm", "all"], submits=False)
    assert runs.unended(tmp_path) == [first, second]
    runs.note_end(first)
    assert runs.unended(tmp_path) == [second]
    assert runs.runs(tmp_path) == [first, second]


def test_a_process_is_alive_only_under_its_own_name() -> None:
    assert runs.is_alive(os.getpid(), "python")
    assert not runs.is_alive(os.getpid(), "some_other_program")


def test_a_job_that_is_no_more_is_called_lost() -> None:
    here = {"slurm_job": None, "host": socket.gethostname()}
    beats = [beat(), beat(slurm_job="13"), beat(**here), beat(slurm_job=None), beat(status="complete", slurm_job="14")]
    beats = [one | {"job": str(number)} for number, one in enumerate(beats)]
    found = [one["status"] for one in runs.found_out(beats, {"12"})]
    assert found == ["running", "lost", "lost", "running", "complete"]


def test_the_table_shows_queue_and_heartbeats() -> None:
    failed = beat(
        status="failed", ended="2026-03-04T11:45:00Z", job="judge.y", slurm_job="9", gpus=0, error="no key\nat"
    )
    paid = {"usd": 1.25}
    queued = [job(), job(id="15", state="PENDING", reason="Resources", rule="merge_adapter", wildcards="r_m")]
    shown = table.lines([failed | {"llm": paid}, beat()], queued, NOW)
    assert [(line.state, line.job) for line in shown] == [
        ("running", "train_adapter.x"),
        ("waiting", "merge_adapter r_m"),
        ("failed", "judge.y"),
    ]
    running, waiting, broken = shown
    assert (running.heartbeat, running.progress, running.rate, running.gpu_hours) == ("0:10", "30/90", "0.5/s", "1.00")
    assert waiting.note == "Resources"
    assert (broken.note, broken.usd, broken.heartbeat) == ("no key", "1.2500", "")
    assert table.totals([failed | {"llm": paid}, beat()], NOW) == "1.2500 USD, 1.00 GPU-hours"
    head, *rest = table.render(shown).splitlines()
    assert "gpu-hours" in head and len(rest) == 3


def test_all_attempts_are_counted_and_the_latest_is_shown(tmp_path: Path) -> None:
    ended = {"status": "failed", "ended": "2026-03-04T10:30:00Z", "llm": {"usd": 2.0}, "slurm_job": "10"}
    failed = beat(started="2026-03-04T10:00:00Z", attempt="a", **ended)
    # Preempted: it goes on under the same number.
    killed = beat(started="2026-03-04T11:00:00Z", updated="2026-03-04T11:15:00Z", attempt="b", llm={"usd": 0.5})
    running = beat(attempt="c", llm={"usd": 0.25})
    for one in (running, failed, killed):
        write_json(tmp_path / f"heartbeats/{one['attempt']}.json", one)
    beats = runs.found_out(runs.heartbeats(tmp_path), {"12"})
    assert [one["status"] for one in beats] == ["failed", "lost", "running"]
    (shown,) = table.lines(runs.latest(beats), [job()], NOW)
    assert (shown.state, shown.usd) == ("running", "0.2500")
    assert table.totals(beats, NOW) == "2.7500 USD, 2.50 GPU-hours"


def test_a_job_that_slurm_queued_again_waits_and_does_not_run() -> None:
    shown = table.lines([beat()], [job(state="PENDING", reason="BeginTime")], NOW)
    assert [line.state for line in shown] == ["waiting"]


@pytest.mark.parametrize(
    ("variables", "gpus"),
    [
        ({"SLURM_JOB_ID": "1", "SLURM_GPUS_ON_NODE": "2", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 2),
        ({"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, 2),
        ({"SLURM_JOB_ID": "1"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 0),
    ],
)
def test_records_say_how_many_gpus_slurm_gave(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], gpus: int
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Journal("rule", "recipe", "job").facts["gpus"] == gpus


def led(root: Path, **changes: Any) -> list[Path]:
    """Leave a run whose master wrote no end, and return the runs without one."""
    run = root / "logs/runs/20260101T000000Z-aa"
    runs.note_master(run, ["all"], submits=False)
    write_json(run / runs.MASTER, read_json(run / runs.MASTER) | changes)
    return runs.unended(root)


def test_a_master_elsewhere_is_dead_only_if_somebody_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    left = led(tmp_path, host="login2", pid=4711, slurm_job=None)
    with pytest.raises(FinetrailError, match="the master ran on login2"):
        runs.check_masters(left, trust=False)
    runs.check_masters(left, trust=True)
    runs.note_lost(left[0])
    assert runs.unended(tmp_path) == left, "its jobs are still to be settled"
    runs.check_masters(left, trust=False)


def test_a_master_that_was_this_job_before_it_was_queued_again_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    left = led(tmp_path, host="node3")
    assert read_json(left[0] / runs.MASTER)["slurm_job"] == "77"
    with pytest.raises(FinetrailError, match="node3"):  # another shell of one allocation, say
        runs.check_masters(left, trust=False)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    runs.check_masters(left, trust=False)
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    with pytest.raises(FinetrailError, match="node3"):
        runs.check_masters(left, trust=False)


def test_a_living_master_is_never_taken_for_dead(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", "snakemake"], stdin=subprocess.PIPE
    ) as p:
        left = led(tmp_path, pid=p.pid)
        with pytest.raises(FinetrailError, match=f"is alive: process {p.pid}"):
            runs.check_masters(left, trust=True)
        assert p.stdin is not None
        p.stdin.close()
    runs.check_masters(left, trust=False)
