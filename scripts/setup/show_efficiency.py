"""Show what the latest run's jobs used of the memory, time and cores that they asked for, and what to ask instead."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetrail.cluster import efficiency, runs
from finetrail.config.recipe import RunConfig, read_run_config
from finetrail.errors import FinetrailError
from finetrail.workflow.declared import read_declared
from finetrail.workflow.job_resources import JobResources

SCRIPTS = Path(__file__).resolve().parents[1]


def asked_of(run: RunConfig, rule: str) -> dict[str, Any]:
    """Return the most that jobs of a rule asked for, by the configuration or by the models that they load."""
    asked = run.resources_for(rule)
    for script in SCRIPTS.glob(f"*/{rule}.py"):
        jobs = JobResources(run, rule, rule, read_declared(script), 1)
        asked |= jobs.most()
    return asked


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and the lines of a configuration that would fit better."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    try:
        known = runs.runs(Path.cwd())
        if not known:
            raise FinetrailError("no run has been started in this folder", hint="snakemake --profile slurm all")
        run = read_run_config(known[-1] / "run_config.yaml")
        folder = Path("benchmarks/tutorial" if run.scale == "tutorial" else "benchmarks")
        used = efficiency.read_benchmarks(folder)
        if not used:
            raise FinetrailError(
                "there are no benchmarks", where=str(folder), hint="They are written by jobs that end well"
            )
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    rows = [(one, asked_of(run, one.rule.removesuffix("_shard"))) for one in used]
    print(*efficiency.table(rows), sep="\n")
    advice = {
        one.rule: better for one, asked in rows if not asked["local"] and (better := efficiency.advise(one, asked))
    }
    if advice:
        print("\nBetter, with some room (rows and models decide: look at a run of the same size):")
        print(*efficiency.as_yaml(advice), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
