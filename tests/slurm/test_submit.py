"""`make submit`: the master is a job itself; queued again near its time limit, it resumes the run."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from finetrail.cluster.runs import MASTER, note_master
from finetrail.rows.artifacts import read_json, write_json
from tests.slurm.cluster import PATIENCE_S, wait_until
from tests.slurm.workspace import WAIT, SlurmWorkspace
from tests.workspace import BIN, RESULTS

TARGETS = (f"{RESULTS}/records.jsonl", f"{RESULTS}/queries.jsonl")
pytestmark = pytest.mark.long


def submit(workspace: SlurmWorkspace, minutes: int = 30) -> "subprocess.CompletedProcess[str]":
    arguments = workspace.command(*TARGETS, config=(f"site={{master: {{runtime: {minutes}}}}}",))
    given = arguments[arguments.index(str(BIN / "snakemake")) + 1 :]
    command = workspace.cluster.command(
        str(BIN / "python"), "scripts/setup/submit_master.py", *given, cwd=workspace.root
    )
    environment = workspace.environment() | {"PYTHONPATH": str(workspace.root / "scripts")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_a_submitted_master_leads_and_resumes_a_run(on_cluster: Callable[[], SlurmWorkspace], hold: Path) -> None:
    workspace = on_cluster()
    workspace.set_up(WAIT)
    cluster = workspace.cluster
    refused = submit(workspace, 90)
    assert refused.returncode == 1 and "90 minutes are more than the 60 that cpu allows" in refused.stderr
    # Somebody's run on another login node, which would be unlocked under its master.
    elsewhere = workspace.root / "logs/tutorial/runs/20260101T000000Z-aa"
    note_master(elsewhere, ["all"], submits=True)
    write_json(elsewhere / MASTER, read_json(elsewhere / MASTER) | {"host": "login9"})
    refused = submit(workspace)
    assert refused.returncode == 1 and "the master ran on login9" in refused.stderr
    shutil.rmtree(elsewhere)
    done = submit(workspace)
    assert done.returncode == 0, done.stderr
    master = done.stdout.split()[4].rstrip(";")

    def job(number: str) -> dict[str, str]:
        return dict(next(one.facts for one in cluster.jobs() if one.id == number))

    def rules() -> dict[str, str]:
        return {one.rule: one.state for one in workspace.jobs() if one.rule}

    wait_until(lambda: rules() == {"ingest_records": "RUNNING"}, PATIENCE_S, "the master submitted a job")
    again = submit(workspace)
    assert again.returncode == 1 and f"job {master} RUNNING" in again.stderr
    # As SLURM does some minutes before the time limit.
    cluster.check("scancel", "--batch", "--signal=USR1", master)
    wait_until(lambda: job(master)["Restarts"] == "1", PATIENCE_S, "the master was queued again")
    assert rules() == {"ingest_records": "RUNNING"}, "its jobs go on"
    log = workspace.root / "logs/slurm/master.log"
    wait_until(lambda: "waiting for 1 orphans" in log.read_text(), PATIENCE_S, "the master found its orphan")
    hold.unlink()
    wait_until(lambda: job(master)["JobState"] not in {"RUNNING", "PENDING"}, PATIENCE_S, "the run ended")
    assert job(master)["JobState"] == "COMPLETED", log.read_text()[-3000:]
    assert all((workspace.root / target).exists() for target in TARGETS)
    assert rules() == {"ingest_records": "COMPLETED", "make_queries": "COMPLETED"}
    records = [record for run in workspace.runs() for record in workspace.records(run)]
    assert Counter(record["rule"] for record in records) == {"ingest_records": 1, "make_queries": 1}
