"""Show the latest run of this folder: jobs that wait, run, are done or failed, and what they have used so far."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetrail.cluster import queue, runs, table
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json


def found(root: Path, run: Path) -> tuple[list[dict[str, Any]], list[queue.QueuedJob], str | None]:
    """Return the heartbeats, the queue, and why there is none; a run without SLURM is shown where SLURM is silent."""
    beats = runs.heartbeats(run)
    try:
        jobs = queue.queued_jobs(root) if queue.has_slurm() else []
    except FinetrailError as error:
        return beats, [], str(error)
    return runs.found_out(beats, {job.id for job in jobs}), jobs, None


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=None, help="folder of another run, under logs/[tutorial/]runs")
    arguments = parser.parse_args(argv)
    root = Path.cwd()
    try:
        known = runs.runs(root)
        if arguments.run is None and not known:
            raise FinetrailError("no run has been started in this folder", hint="snakemake --profile slurm all")
        run = arguments.run or known[-1]
        beats, jobs, unheard = found(root, run)
        master = read_json(run / runs.MASTER)
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    now = datetime.now(UTC)
    end = f"ended {master['ended']}" if master["ended"] else f"led by process {master['pid']} on {master['host']}"
    print(f"{run.name}: {end}")
    if unheard is not None:
        print(f"SLURM does not answer, its jobs are as their heartbeats say: {unheard}")
    if refusal := queue.last_refusal(root, now):
        print(f"SLURM refuses jobs: {refusal}")
    print(table.render(table.lines(runs.latest(beats), jobs, now)))
    print(table.totals(beats, now))
    return 0


if __name__ == "__main__":
    sys.exit(main())
