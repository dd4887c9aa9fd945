"""What jobs used of what they asked for, by their benchmarks, and what to ask for instead."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

WASTED, TIGHT = 0.5, 0.9
MEMORY_STEP_MB = 100
# Snakemake runs twice within a job, beside what its benchmark sees.
SNAKEMAKE_MB = 400
ROOM = 1.3
LEAST_MINUTES = 10
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Used:
    """The most that any job of a rule used.

    Attributes:
        jobs: how many there were.
        mem_mb: memory (RSS) in MB.
        minutes: wall time.
        cores: cores that were busy, on average over the job's time.
    """

    rule: str
    jobs: int
    mem_mb: float
    minutes: float
    cores: float


def read_benchmarks(folder: Path) -> list[Used]:
    """Read Snakemake's benchmarks, ``<folder>/<recipe>/<rule>[.<wildcards>].jsonl``; what was too short counts as 0."""
    found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("*/*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found[path.name.partition(".")[0]] += [json.loads(lines[-1])] if lines else []
    return [_most(rule, rows) for rule, rows in sorted(found.items()) if rows]


def _most(rule: str, rows: list[Mapping[str, Any]]) -> Used:
    def most(values: Iterable[Any]) -> float:
        return max((float(value) for value in values if isinstance(value, int | float)), default=0.0)

    wall = most(row.get("s") for row in rows)
    memory = most(row.get("max_rss") for row in rows)
    cores = most(row.get("mean_load", 0) / 100 if isinstance(row.get("mean_load"), int | float) else 0 for row in rows)
    return Used(rule, len(rows), memory, wall / SECONDS_PER_MINUTE, cores)


def advise(used: Used, asked: Mapping[str, Any]) -> dict[str, int]:
    """Return what a rule should ask for instead; nothing of what is about right.

    Args:
        used: what its jobs used.
        asked: its `mem_mb`, `runtime` in minutes, and `threads`.
    """
    better: dict[str, int] = {}
    memory = used.mem_mb + SNAKEMAKE_MB
    if used.mem_mb and not WASTED <= memory / asked["mem_mb"] <= TIGHT:
        better["mem_mb"] = ceil(ROOM * memory / MEMORY_STEP_MB) * MEMORY_STEP_MB
    # Half of a time limit is no waste: a job of double the rows should still end.
    if used.minutes and not WASTED / 2 <= used.minutes / asked["runtime"] <= TIGHT:
        better["runtime"] = max(LEAST_MINUTES, ceil(2 * used.minutes))
    if used.cores and asked["threads"] > 1 and used.cores < WASTED * asked["threads"]:
        better["threads"] = max(1, ceil(used.cores))
    return {name: value for name, value in better.items() if value != asked[name]}


def table(rows: Iterable[tuple[Used, Mapping[str, Any]]]) -> Iterator[str]:
    """Render used against asked, a line a rule."""
    form = "{:<24} {:>5} {:>8} {:>8} {:>5}  {:>8} {:>8} {:>5}  {:>6} {:>6}"
    yield form.format("rule", "jobs", "MB used", "asked", "%", "min used", "asked", "%", "cores", "asked")
    for used, asked in rows:
        memory, time = 100 * used.mem_mb / asked["mem_mb"], 100 * used.minutes / asked["runtime"]
        yield form.format(
            used.rule, used.jobs, f"{used.mem_mb:.0f}", asked["mem_mb"], f"{memory:.0f}", f"{used.minutes:.1f}",
            asked["runtime"], f"{time:.0f}", f"{used.cores:.1f}", asked["threads"],
        )  # fmt: skip


def as_yaml(advice: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Render advice as it goes into config/config.yaml or config/site.yaml."""
    yield "resources:"
    for rule, better in advice.items():
        yield f"  {rule}: {{{', '.join(f'{name}: {value}' for name, value in better.items())}}}"
