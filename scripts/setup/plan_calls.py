"""Show what a run would do, and which calls to models it would pay: ``plan_calls.py SNAKEMAKE_ARGUMENTS ...``.

Prints snakemake's dry run, then for each step that asks a model its rows, the calls that the store has, the calls to
make, and an estimate of their tokens and price; then what the jobs ask for that their models need otherwise, with
status 1 where jobs would fail. The steps count for themselves (``--plan``), with the code that makes
the calls. Where other jobs must run first, what can be known before is a bound.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from snakemake.cli import parse_args

from finetrail.cluster.cost import SECONDS_PER_HOUR, History
from finetrail.cluster.runs import runs
from finetrail.config.current import PLAN_VARIABLE, RUN_CONFIG_VARIABLE
from finetrail.config.recipe import RecipeConfig, RunConfig, read_run_config
from finetrail.digests.code_digest import direct_imports
from finetrail.errors import FinetrailError
from finetrail.preflight.base_checks import unseen_bases
from finetrail.preflight.machine_checks import check_machines
from finetrail.preflight.requested_resources import asked_by
from finetrail.rows.artifacts import read_json
from finetrail.step.progress import count_lines
from finetrail.workflow.call_counts import calls_a_record

SCRIPTS = Path(__file__).resolve().parents[1]
ASKING = {SCRIPTS / "finetrail" / name for name in ("llm/ask.py", "web/search_rows.py")}
UNKNOWN_YET = "<TBD>"
# Answers that `plant_defects` makes of one record, at most: one as it is, and four kinds of defects.
DEFECTS = 5
JOB = re.compile(r"^(rule|checkpoint) (\w+):\n((?:    .*\n)+)Shell command: (.*)$", re.MULTILINE)
NAME_WIDTH = 42
FIELDS = f"{{:<{NAME_WIDTH}}} {{:>7}} {{:>8}} {{:>9}} {{:>8}} {{:>8}} {{:>11}} {{:>11}} {{:>10}}  {{}}"
COUNTED = ("rows", "calls", "in_store", "repeats", "to_make", "prompt_tokens", "completion_tokens")
HEADINGS = (
    "step",
    "rows",
    "calls",
    "in store",
    "repeats",
    "to make",
    "tokens in",
    "tokens out",
    "USD",
    "estimated from",
)


@dataclass(frozen=True)
class Job:
    """A job of a dry run; a file that is known only later is ``<TBD>``."""

    rule: str
    is_checkpoint: bool
    recipe: str
    name: str
    is_shard: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    command: str
    gpus: int = 0
    minutes: int = 0

    @classmethod
    def parse(cls, kind: str, rule: str, body: str, command: str) -> "Job":
        """Make a job from its block of a dry run."""
        said = dict(line.strip().split(": ", 1) for line in body.splitlines() if ": " in line)
        files = {name: tuple(said.get(name, "").split(", ")) for name in ("input", "output")}
        wildcards = dict(pair.split("=") for pair in said.get("wildcards", "").split(", ") if pair)
        recipe = wildcards.pop("recipe", "")
        name = " ".join([rule, *wildcards.values()])
        is_shard = "shards" in wildcards
        files_of = (files["input"], files["output"])
        limit = re.search(r"\bruntime=(\d+)", said.get("resources", ""))
        minutes = int(limit[1]) if limit else 0
        return cls(rule, kind == "checkpoint", recipe, name, is_shard, *files_of, command, gpus_of(said), minutes)

    def asks(self) -> bool:
        """Say whether the job's script asks a model or searches the web."""
        script = Path(next((word for word in shlex.split(self.command) if word.endswith(".py")), ""))
        return script.is_file() and not ASKING.isdisjoint(direct_imports(script.resolve(), SCRIPTS))


def gpus_of(said: Mapping[str, str]) -> int:
    """Return the GPUs that a job of a dry run asks for, on all its nodes."""
    resources = said.get("resources", "")
    spread = re.search(r"--gpus-per-node=(?:[\w.]+:)?(\d+)", resources)
    nodes = re.search(r"\bnodes=(\d+)", resources)
    if spread and nodes:
        return int(spread[1]) * int(nodes[1])
    found = re.search(r"\bgpu=(\d+)", resources)
    return int(found[1]) if found else 0


def gpu_hours(jobs: Sequence[Job]) -> Iterator[str]:
    """Render what the jobs with GPUs are expected to take, from earlier ones, else from their time limits."""
    with_gpus = [job for job in jobs if job.gpus]
    if not with_gpus:
        return
    history = History.read(runs(Path.cwd()))
    form = f"{{:<{NAME_WIDTH}}} {{:>5}} {{:>8}} {{:>10}}  {{}}"
    yield form.format("GPU-hours", "GPUs", "hours", "GPU-hours", "measured on")
    total, most, unknown = 0.0, 0.0, 0
    for job in with_gpus:
        expected = history.expect(job.rule, job.recipe, job.outputs)
        if expected.seconds is None:
            hours = job.minutes / 60
            unknown += 1
            most += hours * job.gpus
            yield form.format(job.name, job.gpus, f"<{hours:.1f}", f"<{hours * job.gpus:.1f}", expected.basis)
            continue
        hours = expected.seconds / SECONDS_PER_HOUR
        total += hours * job.gpus
        yield form.format(job.name, job.gpus, f"{hours:.2f}", f"{hours * job.gpus:.2f}", expected.basis)
    more = f", and by their time limits at most {most:.0f} of {unknown} jobs that are not known" if unknown else ""
    yield f"In all: about {total:.2f} GPU-hours{more}\n"


def dry_run(arguments: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a dry run; the workflow writes its configuration into the folder. Return exit status and output."""
    command = ["snakemake", "--dry-run", "--printshellcmds", *arguments]
    environment = os.environ | {PLAN_VARIABLE: str(folder / "run_config.yaml")}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
    )
    return done.returncode, done.stdout


def jobs_of(printed: str) -> list[Job]:
    """Return the jobs that a dry run lists, in its order."""
    return [Job.parse(*found.groups()) for found in JOB.finditer(printed)]


def ask_step(job: Job, run_config: Path) -> dict[str, Any]:
    """Let a job's script count its calls.

    Raises:
        FinetrailError: it cannot.
    """
    words = shlex.split(job.command)
    command = [sys.executable, *words[1 : words.index("2>")], "--plan"]
    environment = os.environ | {RUN_CONFIG_VARIABLE: str(run_config), "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise FinetrailError(f"cannot be planned: {done.stderr.strip()}", where=job.name)
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


def ask_steps(jobs: Sequence[Job], run_config: Path) -> dict[str, Any]:
    """Let the jobs of one step count their calls, and sum them; a call that two shards want may be made twice.

    Raises:
        FinetrailError: one of them cannot.
    """
    first, *others = (ask_step(job, run_config) for job in jobs)
    for plan in others:
        first |= {name: first[name] + plan[name] for name in COUNTED}
        known = first["usd"] is not None and plan["usd"] is not None
        first["usd"] = first["usd"] + plan["usd"] if known else None
        if plan["to_make"]:
            first["basis"] = plan["basis"]
    return first


def calls_in_all(recipe: RecipeConfig, rule: str) -> int | None:
    """Return the most calls of a rule whose rows are chosen or brought from elsewhere; None for other rules."""
    calibration = recipe.label.calibration if recipe.label else None
    if rule == "label_gold" and calibration is not None:
        counts = [count_lines(Path(path)) for path in calibration.gold]
        return None if None in counts else calibration.planted + sum(count or 0 for count in counts)
    if rule == "judge_planted" and recipe.synthesize is not None:
        return recipe.synthesize.planted * DEFECTS
    return None


@dataclass
class Planner:
    """Plans the calls of the jobs that would run, among all that there are."""

    run: RunConfig
    run_config: Path
    to_run: Sequence[Job]
    all_shards: Sequence[Job]

    def __post_init__(self) -> None:
        self.makers = {path: job for job in self.to_run for path in job.outputs}
        self.waiting = {(job.recipe, job.name): job for job in self.to_run}
        self.to_make, self.usd, self.unpriced, self.unknown = 0, 0.0, 0, 0

    def line(self, job: Job) -> str:
        """Render what is known of a job's calls."""
        here = self.waiting.get((job.recipe, job.name))
        if here is None:
            return self._line_of_finished(job)
        shards = [one for one in self.all_shards if {*one.outputs} & {*here.inputs}]
        shards = [self.waiting.get((one.recipe, one.name), one) for one in shards]
        jobs = shards or [here]
        name = f"{job.name} in {len(shards)} shards" if shards else job.name
        before = self._before(jobs[0])
        if before:
            self.unknown += 1
            until = f"{name:<{NAME_WIDTH}} unknown until {' and '.join(before)} {'have' if before[1:] else 'has'} run"
            bounds = "; ".join(self._bounds(jobs, job.rule))
            return f"{until}: {bounds}" if bounds else until
        plan = ask_steps(jobs, self.run_config)
        self._add(plan)
        usd = "no price" if plan["usd"] is None else f"{plan['usd']:.4f}"
        return FIELDS.format(name, *(plan[name] for name in COUNTED), usd, plan["basis"])

    def total(self) -> str:
        """Render the sum of what is known."""
        parts = [f"{self.to_make} calls to make, about {self.usd:.4f} USD"]
        parts += [f"{self.unpriced} of them of models without a price"] if self.unpriced else []
        parts += [f"and those of {self.unknown} steps that are not known yet"] if self.unknown else []
        bound = self.run.llm.budget_usd
        parts += (
            [f"more than llm.budget_usd ({bound:g}) allows one run"] if bound is not None and self.usd > bound else []
        )
        return ", ".join(parts)

    def _add(self, plan: dict[str, Any]) -> None:
        self.to_make += plan["to_make"]
        self.usd += plan["usd"] or 0.0
        self.unpriced += plan["to_make"] if plan["usd"] is None else 0

    def _line_of_finished(self, job: Job) -> str:
        path = Path(next(path for path in job.outputs if path.endswith(".meta.json")))
        if not path.exists():  # fetched without it, or removed: what was made of it is there
            return f"{job.name:<{NAME_WIDTH}} does not run: nothing needs its files, which are gone"
        meta = read_json(path)
        calls = meta["llm"]["calls_made"] + meta["llm"]["from_store"]
        return FIELDS.format(
            job.name, meta["counts"]["in"], calls, calls, 0, 0, 0, 0, "0.0000", "up to date, does not run"
        )

    def _before(self, job: Job) -> list[str]:
        """Name the jobs that must run before a job's requests are known."""
        makers = [self.makers[path].name for path in job.inputs if path in self.makers]
        if UNKNOWN_YET in job.inputs:
            makers += [other.name for other in self.to_run if other.is_checkpoint and other.recipe == job.recipe]
        return list(dict.fromkeys(makers))

    def _bounds(self, jobs: Sequence[Job], rule: str) -> Iterator[str]:
        """Yield what can be said of a step, in one job or in shards, whose inputs are still to be made."""
        job = jobs[0]
        recipe = self.run.recipe(job.recipe)
        each, in_all = calls_a_record(recipe, rule), calls_in_all(recipe, rule)
        path = self.run.results / job.recipe / "records.jsonl"
        if in_all is not None:
            yield f"at most {in_all} calls"
        if each is not None and path.exists() and path.as_posix() not in self.makers:
            with path.open("rb") as stream:
                yield f"at most {each * sum(1 for _ in stream)} calls"
        elif each is not None and recipe.limit is not None:
            yield f"about {each * recipe.limit} calls at most (a pilot keeps its last session whole)"
        if all(Path(path).exists() for path in job.inputs):
            yield f"{ask_steps(jobs, self.run_config)['to_make']} with its inputs as they are now"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the dry run and the calls."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    with tempfile.TemporaryDirectory() as folder:
        status, printed = dry_run(arguments, Path(folder))
        print("".join(line for line in printed.splitlines(True) if not line.startswith("Shell command: ")))
        if status:
            return status
        _, everything = dry_run(["--forceall", *arguments], Path(folder))
        run_config = Path(folder) / "run_config.yaml"
        asking = sorted(filter(Job.asks, jobs_of(everything)), key=lambda job: job.recipe)
        shards = [job for job in asking if job.is_shard]
        planner = Planner(read_run_config(run_config), run_config, jobs_of(printed), shards)
        try:
            steps = (job for job in asking if not job.is_shard)
            for recipe, jobs in groupby(steps, lambda job: job.recipe):
                print(f"Calls to models, {recipe}\n{FIELDS.format(*HEADINGS)}")
                print(*map(planner.line, jobs), sep="\n", end="\n\n")
        except FinetrailError as error:
            print(error, file=sys.stderr)
            return 1
        for line in gpu_hours(planner.to_run):
            print(line)
        for line in unseen_bases(planner.run):
            print(line)
        print(f"In all: {planner.total()}")
        submits = parse_args(arguments)[1].executor == "slurm"
        found = sorted({*check_machines(planner.run, asked_by(printed), submits=submits)})
        print(*(f"\n{one}" for one in found), sep="", end="\n" if found else "")
    return int(any(one.level == "error" for one in found))


if __name__ == "__main__":
    sys.exit(main())
