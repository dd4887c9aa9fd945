"""The master killed -9 while its jobs wait and run: `make resume` settles them, and no output is written twice."""

import itertools
import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import PATIENCE_S, wait_until
from tests.slurm.workspace import WAIT, SlurmWorkspace
from tests.workspace import BIN, RESULTS

TARGETS = (f"{RESULTS}/records.jsonl", f"{RESULTS}/passages.jsonl", f"{RESULTS}/queries.jsonl")
# One job a time on each node, and a queue: the second job of the run cannot begin while the first one runs.
ONE_JOB = "resources={load_passages: {local: false, mem_mb: 7000}, ingest_records: {mem_mb: 7000}}"


def start_python(workspace: SlurmWorkspace, script: str) -> "subprocess.Popen[str]":
    """Start a program of the project within the cluster."""
    command = workspace.cluster.command(str(BIN / "python"), "-u", script, cwd=workspace.root)
    environment = workspace.environment() | {"PYTHONPATH": str(workspace.root / "scripts")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def python(workspace: SlurmWorkspace, script: str) -> tuple[int, str]:
    """Run a program of the project within the cluster; return its exit status and what it printed."""
    process = start_python(workspace, script)
    try:
        printed, _ = process.communicate(timeout=1500)
    finally:
        process.kill()
    return process.returncode, printed


# A connection that is lost hangs up on the master.
@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_a_killed_master_is_resumed(on_cluster: Callable[[], SlurmWorkspace], hold: Path, end: signal.Signals) -> None:
    workspace = on_cluster()
    workspace.set_up(WAIT)
    workspace.cluster.check("scontrol", "update", "nodename=cpu2", "state=drain", "reason=the test wants a queue")
    try:
        _kill_and_resume(workspace, hold, end)
    finally:
        workspace.cluster.check("scontrol", "update", "nodename=cpu2", "state=resume")


def _kill_and_resume(workspace: SlurmWorkspace, hold: Path, end: signal.Signals) -> None:
    master = workspace.start(*TARGETS, config=(ONE_JOB,))
    try:
        wait_until(
            lambda: sorted(job.state for job in workspace.jobs()) == ["PENDING", "RUNNING"], PATIENCE_S, "two jobs"
        )
        _, status = python(workspace, "scripts/setup/show_status.py")
        assert re.search(r"^waiting .* (Resources|Priority)$", status, re.M), status
        code, refused = python(workspace, "scripts/setup/resume_run.py")
        assert code == 1 and f"process {master.pid}" in refused
        os.kill(master.pid, end)
        master.wait(60)
    finally:
        master.kill()
        master.communicate()
    assert "Directory cannot be locked" in workspace.snakemake(*TARGETS, config=(ONE_JOB,), fails=True)

    running, waiting = (next(job for job in workspace.jobs() if job.state == s) for s in ("RUNNING", "PENDING"))
    resuming = start_python(workspace, "scripts/setup/resume_run.py")
    try:
        assert resuming.stdout is not None
        lines = iter(resuming.stdout.readline, "")
        said = "".join(itertools.takewhile(lambda line: not line.startswith("waiting for 1 "), lines))
        hold.unlink()
        printed, _ = resuming.communicate(timeout=1500)
    finally:
        resuming.kill()
    assert resuming.returncode == 0, said + printed
    assert f"orphan: job {running.id} {running.rule} RUNNING: waited for" in said
    assert f"orphan: job {waiting.id} {waiting.rule} PENDING: cancelled" in said
    assert all((workspace.root / target).exists() for target in TARGETS)
    states = {job.id: job.state for job in workspace.jobs()}
    assert states.pop(waiting.id) == "CANCELLED"
    assert set(states.values()) == {"COMPLETED"}

    # By the scripts' own records: the orphan's output was adopted, and every output written by one job.
    assert f"adopted: {running.rule} crag_mm" in printed
    records = [record for run in workspace.runs() for record in workspace.records(run)]
    assert Counter(record["rule"] for record in records) == dict.fromkeys(
        [running.rule, waiting.rule, "make_queries"], 1
    )
    assert "Nothing to be done" in workspace.snakemake(*TARGETS, config=(ONE_JOB,))
    ended = [json.loads(path.read_text())["ended"] for path in workspace.root.glob("logs/tutorial/runs/*/master.json")]
    assert len(ended) == 2 and all(ended)
    code, again = python(workspace, "scripts/setup/resume_run.py")
    assert code == 1 and "no run of this folder was cut off" in again
