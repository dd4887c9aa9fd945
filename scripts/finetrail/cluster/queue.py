"""SLURM's queue: the jobs of a working folder, as `squeue` lists them."""

import getpass
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetrail.errors import FinetrailError

# The comment comes last: it is the executor's, and may hold anything but a line break.
FORMAT = "%i|%T|%M|%r|%Z|%k"
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"}


@dataclass(frozen=True)
class QueuedJob:
    """A job that is in the queue: it waits, runs, or is about to end.

    Attributes:
        id: SLURM's number.
        state: SLURM's state, such as ``PENDING``.
        elapsed: how long it has run, as SLURM writes times.
        reason: why it waits, such as ``Resources``.
        rule: the workflow's rule; empty where the job is not the workflow's.
        wildcards: the values of its wildcards, as the executor joins them.
    """

    id: str
    state: str
    elapsed: str
    reason: str
    rule: str
    wildcards: str

    @property
    def is_waiting(self) -> bool:
        """Whether it has not begun, or will begin again."""
        return self.state in WAITING


def has_slurm() -> bool:
    """Tell whether this machine can ask SLURM."""
    return shutil.which("squeue") is not None


def queued_jobs(folder: Path) -> list[QueuedJob]:
    """List this user's jobs whose working folder is a given one.

    Raises:
        FinetrailError: SLURM does not answer.
    """
    lines = _slurm("squeue", "--noheader", "--user", getpass.getuser(), "--format", FORMAT).splitlines()
    place = folder.resolve()
    return [job for line in lines if (job := _parsed(line, place)) is not None]


def cancel(jobs: Sequence[QueuedJob]) -> None:
    """Cancel jobs; those that have ended meanwhile are none to complain of.

    Raises:
        FinetrailError: SLURM refuses.
    """
    if jobs:
        _slurm("scancel", *(job.id for job in jobs))


def _parsed(line: str, folder: Path) -> QueuedJob | None:
    number, state, elapsed, reason, rest = line.split("|", 4)
    place, _, comment = rest.partition("|rule_")
    if Path(place.removesuffix("|(null)")).resolve() != folder:
        return None
    rule, _, wildcards = comment.partition("_wildcards_")
    return QueuedJob(number, state, elapsed, reason, rule, wildcards)


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FinetrailError(f"SLURM does not answer: {error}", hint="Run this on a login node") from error
    if done.returncode != 0:
        raise FinetrailError(f"{command[0]}: {done.stderr.strip()}", hint="Is this a login node of the cluster?")
    return done.stdout
