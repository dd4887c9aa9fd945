"""Write into docs/slurm.md what the jobs of the published recipes ask for, or check it.

All full recipes are planned with ``snakemake --profile slurm -n all`` in a copy of the project that holds empty files
in the place of original ones. Nothing is asked of the network, or of SLURM.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path

import yaml

from finetrail.config.current import PLAN_VARIABLE
from finetrail.config.recipe import RunConfig, read_run_config
from finetrail.preflight.machine_checks import needed
from finetrail.preflight.requested_resources import Asked, asked_by
from finetrail.rows.artifacts import atomic_path

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path("docs/slurm.md")
BEGIN, END = "<!-- machines: written by scripts/setup/generate_machine_table.py -->\n", "<!-- /machines -->\n"
COPIED = ("Snakefile", "rules", "scripts", "config", "envs", "profiles")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "site.yaml", ".snakemake")
HEADING = """\
| job | GPUs | GB of each | memory, GB | cores | time limit, h |
|---|---:|---:|---:|---:|---:|
"""


def published_recipes(root: Path) -> list[str]:
    """List the recipes that are no variant of another."""
    named = sorted((root / "config/recipes").glob("*.yaml"))
    return [path.stem for path in named if "extends" not in yaml.safe_load(path.read_text(encoding="utf-8"))]


def copy_project(target: Path, recipes: Sequence[str]) -> None:
    """Copy what the workflow is made of, with an empty file or folder for each original that recipes name."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=LEFT_OUT)
        else:
            shutil.copyfile(source, target / name)
    for recipe in recipes:
        source_keys = yaml.safe_load((ROOT / f"config/recipes/{recipe}.yaml").read_text(encoding="utf-8"))["source"]
        for key in ("files", "held_out", "corpus", "questions"):
            for name in source_keys.get(key, ()):
                place = target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        if images := source_keys.get("images"):
            (target / images).mkdir(parents=True)


def plan(folder: Path, recipes: Sequence[str], *options: str) -> tuple[list[Asked], RunConfig]:
    """Plan all that the recipes make at full scale, as on a cluster.

    Args:
        folder: of `copy_project`.
        recipes: their names.
        options: more of Snakemake's.
    """
    target = folder / "plan.yaml"
    command = [
        sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--sdm", "env-modules", "--cores", "999",
        "--dry-run", "--printshellcmds", *options,
        "--config", "scale=full", f"recipes=[{','.join(recipes)}]", "--", "all",
    ]  # fmt: skip
    environment = os.environ | {PLAN_VARIABLE: str(target), "PYTHONPATH": str(folder / "scripts")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-4000:] + done.stdout[-4000:])
    return asked_by(done.stdout), read_run_config(target)


def table(jobs: Iterable[Asked], run: RunConfig) -> Iterator[str]:
    """Yield a line for the jobs of a rule that ask for the same, where that is more than `resources.default` says."""
    least = run.resources_for("default")
    found: dict[tuple[str, str, str], set[str]] = {}
    for job in jobs:
        asked = (job.gpus_a_node, job.number("mem_mb"), job.threads, job.number("runtime"))
        if job.recipe in run.recipes and asked != (0, least["mem_mb"], least["threads"], least["runtime"]):
            found.setdefault((job.recipe, job.rule, _demand(job, run)), set()).add(job.model)
    for (recipe, rule, demand), models in sorted(found.items()):
        named = ", ".join(sorted(filter(None, models)))
        yield f"| {recipe}: `{rule}`{f' ({named})' if named else ''} | {demand} |\n"


def _demand(job: Asked, run: RunConfig) -> str:
    size = needed(run, job)
    on_gpu = f"{job.gpus_a_node} | {size.gpu_gb:g}" if size and job.gpus_a_node else " | "
    hours = ceil(10 * job.number("runtime") / 60) / 10
    return f"{on_gpu} | {ceil(job.number('mem_mb') / 1000)} | {job.threads} | {hours:g}"


def with_table(page: str, lines: Iterable[str]) -> str:
    """Put the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + HEADING + "".join(lines) + END + after


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the table; with --check, 1 means that it is not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the table is not current")
    args = parser.parse_args(argv)
    recipes = published_recipes(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        copy_project(Path(scratch), recipes)
        jobs, run = plan(Path(scratch), recipes)
    page = ROOT / PAGE
    text = page.read_text(encoding="utf-8")
    # `needed` reads what scripts declare, relative to the project.
    os.chdir(ROOT)
    written = with_table(text, table(jobs, run))
    if written == text:
        return 0
    print(f"{PAGE} {'is not current: make docs' if args.check else 'written'}", file=sys.stderr)
    if not args.check:
        with atomic_path(page) as temporary:
            temporary.write_text(written, encoding="utf-8")
    return 1 if args.check else 0


if __name__ == "__main__":
    sys.exit(main())
