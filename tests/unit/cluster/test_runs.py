"""Runs that were cut off: which are found, what of them still works, and what `make status` says of them."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from finetrail.cluster import runs, table
from finetrail.cluster.queue import QueuedJob
from finetrail.lineage.journal import Journal

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
        runs.note_master(run, ["--profile", "slurm", "all"])
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
