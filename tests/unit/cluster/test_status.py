"""`make status` where SLURM's client is installed and no cluster answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_local_run_is_shown_where_slurm_is_silent(tmp_path: Path) -> None:
    run = tmp_path / "logs/runs/20260101T000000Z-1"
    run.mkdir(parents=True)
    (run / "master.json").write_text(json.dumps({"ended": None, "pid": 1, "host": "here", "started": "2026-01-01"}))
    squeue = tmp_path / "bin/squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n")
    squeue.chmod(0o755)
    shown = subprocess.run(
        [sys.executable, str(ROOT / "scripts/setup/show_status.py")],
        cwd=tmp_path,
        env=os.environ
        | {"PATH": f"{squeue.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "led by process 1 on here" in shown.stdout
    assert "SLURM does not answer" in shown.stdout and "Unable to contact slurm controller" in shown.stdout
