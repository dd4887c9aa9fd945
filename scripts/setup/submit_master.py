"""Submit a run's master as a job, for sites whose login nodes end long processes: ``submit_master.py ARGUMENTS ...``.

The arguments are Snakemake's. SLURM queues the master again when its node fails or its time is up; it then resumes
the run: waits for the jobs that went on, adopts what they made, and goes on.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from finetrail.cluster import runs
from finetrail.cluster.master import LOG, check_alone, lead, submission
from finetrail.config.recipe import read_run_config
from finetrail.config.sections.site import Site
from finetrail.errors import FinetrailError
from finetrail.preflight.partitions import read_partitions
from setup.plan_calls import dry_run

RESUME = Path(__file__).with_name("resume_run.py")


def check_time(site: Site) -> None:
    """Refuse a time limit that SLURM would let wait for ever.

    Raises:
        FinetrailError: names the longest one of the partition.
    """
    partitions = read_partitions()
    name = site.master.partition or site.cpu_partition
    chosen = [one for one in partitions.values() if one.name == name or (name is None and one.is_default)]
    if chosen and site.master.runtime > (most := chosen[0].max_minutes):
        what = f"{site.master.runtime} minutes are more than the {most} that {chosen[0].name} allows"
        hint = f"Set it to {most} or less: the master is queued again, and goes on"
        raise FinetrailError(what, where="site.master.runtime", hint=hint)


def submit(arguments: Sequence[str]) -> None:
    """Submit a master.

    Raises:
        FinetrailError: the workflow is not right, a master lives or is queued already, or SLURM refuses.
    """
    root = Path.cwd()
    check_alone(root)
    left = runs.unended(root)
    runs.check_masters(left, trust=False)
    with tempfile.TemporaryDirectory() as folder:
        status, printed = dry_run(arguments, Path(folder))
        if status:
            raise FinetrailError(printed.strip(), hint="The workflow itself must be right first")
        site = read_run_config(Path(folder) / "run_config.yaml").site
    check_time(site)
    for run in left:
        runs.note_lost(run)  # what was looked at here cannot be looked at from the node of the job
    LOG.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(submission(site, Path(__file__), arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise FinetrailError(f"SLURM refuses the master: {done.stderr.strip()}", hint="Correct site.master")
    print(f"the master is job {done.stdout.strip().partition(';')[0]}; make status shows its run, {LOG} its output")


def main(argv: Sequence[str] | None = None) -> int:
    """Submit the master; within its job, lead the run."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["--"]:  # as the job calls it
        if runs.unended(Path.cwd()):
            return lead([sys.executable, str(RESUME), *arguments])
        return lead([sys.executable, "-m", "snakemake", *arguments[1:]])
    try:
        submit(arguments)
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
