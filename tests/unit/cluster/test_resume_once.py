"""`make resume` twice at once: the second one would unlock the folder under the run that the first one starts."""

import os
import subprocess
import sys
from pathlib import Path

from finetrail.cluster import runs
from finetrail.rows.artifacts import read_json, write_json
from tests.workspace import ROOT

RESUME = ROOT / "scripts/setup/resume_run.py"
ORPHAN = "import sys; sys.stdin.read()"


def test_a_second_one_is_refused_while_the_first_one_waits(tmp_path: Path) -> None:
    run = tmp_path / "logs/runs/20260101T000000Z-aa"
    runs.note_master(run, ["all"], submits=False)
    # The master is dead; a job of its run goes on beside it.
    write_json(run / runs.MASTER, read_json(run / runs.MASTER) | {"pid": 0})
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    with subprocess.Popen([sys.executable, "-c", ORPHAN, "ingest_records.py"], stdin=subprocess.PIPE) as orphan:
        beat = {"status": "running", "slurm_job": None, "host": read_json(run / runs.MASTER)["host"]}
        beat |= {
            "pid": orphan.pid,
            "rule": "ingest_records",
            "started": "2026-01-01T00:00:00Z",
            "job": "x",
            "attempt": "x",
        }
        write_json(run / "heartbeats/1.json", beat)
        command = [sys.executable, "-u", str(RESUME)]
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None and orphan.stdin is not None
            try:
                assert first.stdout.readline().startswith("orphan: process")
                done = subprocess.run(
                    command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 1 and "another `make resume` is at work" in done.stderr
            finally:
                first.kill()
                orphan.stdin.close()
    assert runs.unended(tmp_path) == [run]
