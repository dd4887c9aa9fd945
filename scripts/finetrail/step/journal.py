"""The record of one attempt at one job: run journal, heartbeat and meta file share this schema."""

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from finetrail.rows.artifacts import write_json

CHANGES_NO_RESULT = (
    "It says of an attempt who ran it, where, when and with which tools: the record of a result, and not the result."
)
SCHEMA = "finetrail.record/1"
RUN_VARIABLE = "FINETRAIL_RUN"
BY_HAND = Path("logs/runs/by_hand")
# What a heartbeat takes over from the record: not the parameters, inputs and outputs, which do not change meanwhile.
HEARTBEAT = (
    "schema", "rule", "recipe", "status", "run", "host", "pid", "slurm_job", "gpus", "started", "ended",
    "counts", "error"
)  # fmt: skip
# Distribution names of the modules whose version can change a result.
DISTRIBUTIONS = {
    "aiohttp": "aiohttp",
    "bm25s": "bm25s",
    "gguf": "gguf",
    "numpy": "numpy",
    "peft": "peft",
    "pydantic": "pydantic",
    "sklearn": "scikit-learn",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "trl": "trl",
    "xllamacpp": "xllamacpp",
}


def utc_now() -> str:
    """Return the present time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_folder() -> Path:
    """Return the folder of the present run; scripts run by hand share one."""
    return Path(os.environ.get(RUN_VARIABLE, BY_HAND))


def shared_run_folder() -> Path | None:
    """Return the folder that the jobs of the present run share; None where a script is run by hand."""
    return run_folder() if RUN_VARIABLE in os.environ else None


def allocated_gpus() -> int:
    """Return how many GPUs of this node SLURM gave to this job; 0 outside of SLURM: nothing says whose they are."""
    if "SLURM_JOB_ID" not in os.environ:
        return 0
    if (counted := os.environ.get("SLURM_GPUS_ON_NODE", "")).isdecimal():  # not in steps of old versions
        return int(counted)
    return len([name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name])


def tool_versions() -> dict[str, str]:
    """Return the versions of Python and of those packages that this process has imported."""
    found = {"python": platform.python_version()}
    for module, distribution in DISTRIBUTIONS.items():
        if module in sys.modules:
            try:
                found[distribution] = version(distribution)
            except PackageNotFoundError:
                found[distribution] = "unknown"
    return found


def conda_environment() -> str | None:
    """Return the name of the conda environment that this process runs in; Snakemake names it by its file's hash."""
    prefix = Path(sys.prefix)
    return prefix.name if (prefix / "conda-meta").is_dir() else None


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit of a working tree and whether tracked files differ from it."""
    command = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    lines = done.stdout.splitlines()
    heads = [line.split()[-1] for line in lines if line.startswith("# branch.oid")]
    commit = heads[0] if heads and heads[0] != "(initial)" else None
    return {"commit": commit, "dirty": any(not line.startswith("#") for line in lines)}


@dataclass
class Journal:
    """The record of one attempt; `write` puts its present state on disk, where Snakemake deletes nothing.

    While the attempt runs, `beat` keeps a small file beside it fresh: after a kill without warning it says `running`
    for ever, and `updated` tells that nobody is there.

    Args:
        rule: the rule that the job belongs to.
        recipe: the recipe that the job works for.
        job: a name for the job that is unique within its run.
    """

    rule: str
    recipe: str
    job: str
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.folder = run_folder() / "jobs"
        self.stem = f"{self.job}.{stamp}-{os.getpid()}"
        self.facts = {
            "schema": SCHEMA,
            "rule": self.rule,
            "recipe": self.recipe,
            "status": "running",
            "run": run_folder().name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "gpus": allocated_gpus(),
            "conda": conda_environment(),
            "started": utc_now(),
            "ended": None,
        } | self.facts

    @property
    def log_path(self) -> Path:
        """Where the attempt's log is kept."""
        return self.folder / f"{self.stem}.log"

    @property
    def quarantine_path(self) -> Path:
        """Where the attempt's quarantined rows are kept."""
        return self.folder / f"{self.stem}.quarantine.jsonl"

    @property
    def heartbeat_path(self) -> Path:
        """Where the attempt says how it is: what one that was killed has cost is known from there alone."""
        return run_folder() / "heartbeats" / f"{self.stem}.json"

    def beat(self, facts: Mapping[str, Any]) -> None:
        """Write the heartbeat: who runs, since when, and how far it is.

        Args:
            facts: `progress`, and `llm` where a model is asked; what the record says by itself wins.
        """
        own = dict(self.facts)  # the work goes on meanwhile
        known = {name: own[name] for name in HEARTBEAT if name in own}
        place = {"job": self.job, "attempt": self.stem, "updated": utc_now()}
        write_json(self.heartbeat_path, {**known, **place, **facts, **({"llm": own["llm"]} if "llm" in own else {})})

    def end(self, status: str, error: str | None = None) -> None:
        """Record how the attempt ended: ``complete``, ``failed`` or ``interrupted``."""
        self.facts |= {"status": status, "ended": utc_now(), "tools": tool_versions()}
        if error is not None:
            self.facts["error"] = error
        self.write()

    def write(self) -> None:
        """Write the present state."""
        write_json(self.folder / f"{self.stem}.json", self.facts)
