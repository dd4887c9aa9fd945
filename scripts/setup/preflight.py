"""Look for what would fail before the first job is submitted: ``preflight.py SNAKEMAKE_ARGUMENTS ...``.

The arguments are those of the run. Says of each finding where it is set and what to change; ends with status 1 where
jobs would fail. Nothing is submitted, asked of a model, or written.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from snakemake.cli import parse_args

from finetrail.config.recipe import RunConfig, read_run_config
from finetrail.errors import FinetrailError
from finetrail.preflight import base_checks, cluster_checks, endpoint_checks, machine_checks, place_checks
from finetrail.preflight.finding import Finding
from finetrail.preflight.partitions import read_partitions, read_settings
from finetrail.preflight.requested_resources import Asked, asked_by, submitted
from setup.plan_calls import dry_run

MANY = 10_000
DEPLOYMENT = ("--software-deployment-method", "--sdm", "--deployment-method", "--deployment")


def check_cluster(run: RunConfig, jobs: Sequence[Asked], first_look: int) -> Iterator[Finding]:
    """Check what SLURM would be asked for."""
    partitions, settings = read_partitions(), read_settings()
    most = {job.rule: most_memory(run, job) for job in jobs}
    found = cluster_checks.check_jobs(jobs, partitions, most)
    found += cluster_checks.check_accounts(jobs, settings)
    yield from found
    yield from cluster_checks.check_settings(settings, run.site.preemptible, first_look)
    yield from place_checks.check_shared(Path.cwd(), {n.host for one in partitions.values() for n in one.nodes})
    yield from place_checks.check_login_node(os.environ)
    failing = {job.rule for job in jobs if any(f"resources.{job.rule}." in one.where for one in found)}
    if not any(one.level == "error" and one.where.startswith("site.") for one in found):
        yield from cluster_checks.try_submissions(jobs, failing)


def without_conda(arguments: Sequence[str]) -> list[str]:
    """Replace the deployment method: conda is looked for here, where Snakemake would stop with a traceback."""
    kept: list[str] = []
    swallowed = False
    for word in arguments:
        swallowed = word in DEPLOYMENT or (swallowed and not word.startswith("-"))
        kept += [] if swallowed else [word]
    return [DEPLOYMENT[0], "env-modules", *kept]


def most_memory(run: RunConfig, job: Asked) -> int:
    """Return the memory in MB that the last attempt of a job may ask for."""
    asked = job.number("mem_mb")
    return int(max(run.resources_for(job.rule.removesuffix("_shard")).get("max_mem_mb", 2 * asked), asked))


def check(arguments: Sequence[str]) -> tuple[list[Finding], int]:
    """Return what was found, and how many different jobs were looked at.

    Raises:
        FinetrailError: the configuration is wrong, or SLURM does not answer.
    """
    _, options = parse_args([*arguments])
    with tempfile.TemporaryDirectory() as folder:
        # A dry run counts as local, where no job has more threads than there are cores.
        cores = ["--cores", str(MANY)] if options.executor == "slurm" else []
        status, printed = dry_run([*cores, *without_conda(arguments)], Path(folder))
        if status:
            raise FinetrailError(printed.strip(), hint="The workflow itself must be right first")
        run = read_run_config(Path(folder) / "run_config.yaml")
    asked = asked_by(printed)
    jobs = submitted(asked, run)
    found = place_checks.check_places(Path.cwd(), run.results, run.site)
    found += place_checks.check_quota()
    found += place_checks.check_tools({str(one) for one in options.software_deployment_method}, Path.cwd())
    found += endpoint_checks.check_endpoints(run)
    found += base_checks.check_hub_bases(run)
    found += machine_checks.check_machines(run, asked, submits=options.executor == "slurm")
    if options.executor == "slurm":
        first_look = getattr(options, "slurm_init_seconds_before_status_checks", 40)
        found += check_cluster(run, jobs, int(first_look))
    return sorted(set(found)), len({(job.rule, job.threads, job.options) for job in jobs})


def main(argv: Sequence[str] | None = None) -> int:
    """Print the findings."""
    started = time.monotonic()
    try:
        found, jobs = check(sys.argv[1:] if argv is None else argv)
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    for one in found:
        print(one)
    errors = sum(one.level == "error" for one in found)
    seconds = time.monotonic() - started
    print(f"{errors} errors, {len(found) - errors} warnings; {jobs} kinds of jobs looked at in {seconds:.0f} s")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
