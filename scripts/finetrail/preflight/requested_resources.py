"""What the jobs of a dry run would ask of the cluster."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from finetrail.config.recipe import RunConfig

JOB = re.compile(
    r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)(?:Shell command: python (\S+))?", re.MULTILINE
)


@dataclass(frozen=True)
class Asked:
    """A job's demands; those of several jobs of one rule may differ.

    Attributes:
        rule: the rule.
        options: other resources, by Snakemake's names.
        recipe, model, fold: of the job's path; empty where it names none.
        script: what it runs; empty where the dry run does not show it.
        merges: whether it only merges what its shards wrote.
    """

    rule: str
    threads: int
    options: tuple[tuple[str, str], ...] = field(repr=False)
    recipe: str = ""
    model: str = ""
    fold: str = ""
    script: str = ""
    merges: bool = False

    def get(self, name: str) -> str | None:
        """Return a resource as it is shown; None where the job does not ask for it."""
        return dict(self.options).get(name)

    def number(self, name: str) -> int:
        """Return a resource that is a whole number; 0 where the job does not ask for it."""
        value = self.get(name) or "0"
        return int(value) if value.isdecimal() else 0

    @property
    def nodes(self) -> int:
        """Nodes of the job."""
        return max(1, self.number("nodes"))

    @property
    def gpus_a_node(self) -> int:
        """GPUs on each node of the job."""
        spread = re.search(r"--gpus-per-node=(?:[\w.]+:)?(\d+)", self.get("slurm_extra") or "")
        return int(spread[1]) if spread else self.number("gpu")

    @property
    def gpu_model(self) -> str | None:
        """The GPU's model, as SLURM names it; None for any."""
        spread = re.search(r"--gpus-per-node=([\w.]+):\d+", self.get("slurm_extra") or "")
        return spread[1] if spread else self.get("gpu_model")


def asked_by(printed: str) -> list[Asked]:
    """Read what the jobs of a dry run ask for, each different demand of a rule once."""
    found = dict.fromkeys(_parsed(*groups) for groups in JOB.findall(printed))
    return [one for one in found if one is not None]


def _parsed(rule: str, body: str, script: str) -> Asked | None:
    lines = dict(line.strip().split(": ", 1) for line in body.splitlines() if ": " in line)
    if "output" not in lines:
        return None
    pairs = (pair.partition("=")[::2] for pair in lines.get("resources", "").split(", "))
    options = tuple((name, value) for name, value in pairs if name not in {"tmpdir", "mem", "mem_mib"})
    named = dict(pair.partition("=")[::2] for pair in lines.get("wildcards", "").split(", "))
    recipe, model, fold = (named.get(name, "") for name in ("recipe", "model", "fold"))
    merges = "/shards/" in lines.get("input", "")
    return Asked(rule, int(lines.get("threads", "1")), options, recipe, model, fold, script, merges)


def submitted(jobs: Iterable[Asked], run: RunConfig) -> list[Asked]:
    """Return those that SLURM would be given; a dry run does not tell them from others."""
    return [job for job in jobs if not run.resources_for(job.rule.removesuffix("_shard"))["local"]]
