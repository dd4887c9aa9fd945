"""The cluster's partitions, as `sinfo` and `scontrol` describe them."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from finetrail.cluster.queue import has_slurm
from finetrail.errors import FinetrailError

SECONDS = 20
NO_LIMIT = 10**9
# sinfo's fields, each in a width that cuts nothing off.
FIELDS = ("PartitionName", "Available", "Time", "Memory", "CPUs", "Gres", "Features", "StateLong", "NodeHost")


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition that are alike.

    Attributes:
        mem_mb: memory of a node, in MB.
        gpus: GPUs of a node, by model (empty where SLURM names none).
        state: SLURM's long name of their state.
    """

    mem_mb: int
    cpus: int
    gpus: tuple[tuple[str, int], ...]
    features: frozenset[str]
    state: str
    host: str

    @property
    def takes_jobs(self) -> bool:
        """Whether the nodes will take jobs, now or when they are free."""
        return not re.match(r"down|drain|fail|maint|unknown", self.state)

    def gpu_count(self, model: str | None) -> int:
        """Return the GPUs of a model, or of any."""
        return max([count for name, count in self.gpus if model is None or name == model], default=0)


@dataclass
class Partition:
    """A partition and its nodes.

    Attributes:
        max_minutes: the longest time limit that a job may ask for.
    """

    name: str
    is_default: bool
    state: str
    max_minutes: int
    nodes: list[NodeKind] = field(default_factory=list)


def read_partitions() -> dict[str, Partition]:
    """Ask SLURM for its partitions.

    Raises:
        FinetrailError: SLURM is not here, or does not answer.
    """
    if not has_slurm():
        raise FinetrailError(
            "there is no SLURM on this machine", hint="Run this on a login node, or without PROFILE=slurm"
        )
    form = ",".join(f"{name}:256" for name in FIELDS)
    found: dict[str, Partition] = {}
    for line in ask_slurm(["sinfo", "--noheader", "--Node", "--Format", form]).splitlines():
        cells = [line[start : start + 256].strip() for start in range(0, 256 * len(FIELDS), 256)]
        label, available, limit, memory, cpus, gres, features, state, host = cells
        name = label.rstrip("*")
        partition = found.setdefault(name, Partition(name, label.endswith("*"), available, minutes(limit)))
        known = frozenset(features.replace("(null)", "").split(",")) - {""}
        partition.nodes.append(NodeKind(int(memory), int(cpus), read_gpus(gres), known, state, host))
    return found


def read_settings() -> dict[str, str]:
    """Return what `scontrol show config` says.

    Raises:
        FinetrailError: SLURM does not answer.
    """
    lines = ask_slurm(["scontrol", "show", "config"]).splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


def ask_slurm(command: Sequence[str]) -> str:
    """Return what a command of SLURM prints.

    Raises:
        FinetrailError: it fails, or takes too long.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FinetrailError(
            f"SLURM does not answer: {error}", hint="Is the controller up? scontrol ping says"
        ) from error
    if done.returncode:
        raise FinetrailError(f"{command[0]}: {done.stderr.strip()}", hint="Is the controller up? scontrol ping says")
    return done.stdout


def read_gpus(gres: str) -> tuple[tuple[str, int], ...]:
    """Read the GPUs out of SLURM's list of generic resources, such as ``gpu:a100:4(S:0-1)``."""
    found = re.findall(r"(?:^|,)gpu(?::(?!\d+(?:\(|,|$))([\w.-]+))?(?::(\d+))?", gres)
    return tuple((model, int(count or 1)) for model, count in found)


def joined(names: str, partitions: Mapping[str, Partition]) -> Partition | None:
    """Return the partition of a name, or of several with commas what any of them gives; None where one is unknown."""
    chosen = [partitions.get(name) for name in names.split(",")]
    known = [one for one in chosen if one is not None]
    if len(known) < len(chosen):
        return None
    if len(known) == 1:
        return known[0]
    state = "up" if any(one.state == "up" for one in known) else known[0].state
    nodes = [node for one in known for node in one.nodes]
    return Partition(names, False, state, max(one.max_minutes for one in known), nodes)


def minutes(text: str) -> int:
    """Read SLURM's ``[days-]hours:minutes:seconds`` as minutes; no limit is a very long time."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return NO_LIMIT
    days, hours, whole, _ = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + whole
