"""SLURM's queue: the jobs of a working folder, as `squeue` lists them."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from finetrail.errors import FinetrailError

# The comment comes last: it is the executor's, and may hold anything but a line break.
FORMAT = "%i|%T|%M|%r|%Z|%k"
MASTER_COMMENT = "finetrail_master"
# Written while a submission is refused (scripts/setup/submit_patiently.py), at least each minute.
REFUSED = Path("logs/slurm/refused.log")
REFUSED_LATELY = timedelta(minutes=2)
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"}


@dataclass(frozen=True)
class QueuedJob:
    """A job that is in the queue: it waits, runs, or is about to end.

    Attributes:
        id: SLURM's number.
        state: SLURM's state, such as ``PENDING``.
        elapsed: how long it has run, as SLURM writes times.
        reason: why it waits, such as ``Resources``.
        rule: the workflow's rule; the master's own job has none.
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


def prefer_programs(folder: Path) -> None:
    """Put a folder first on the PATH of this process, and of those that it starts."""
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ["PATH"]])


def has_slurm() -> bool:
    """Tell whether this machine can ask SLURM."""
    return shutil.which("squeue") is not None


def queued_jobs(folder: Path) -> list[QueuedJob]:
    """List the workflow's jobs of this user whose working folder is a given one; other jobs there are not ours.

    Raises:
        FinetrailError: SLURM does not answer.
    """
    return [job for job in _in_folder(folder) if job.rule]


def masters(folder: Path) -> list[QueuedJob]:
    """List the masters (`make submit`) of a working folder that are in the queue, this process's own job left out.

    Raises:
        FinetrailError: SLURM does not answer.
    """
    return [job for job in _in_folder(folder) if not job.rule and job.id != os.environ.get("SLURM_JOB_ID")]


def _in_folder(folder: Path) -> list[QueuedJob]:
    lines = _slurm("squeue", "--noheader", "--user", getpass.getuser(), "--format", FORMAT).splitlines()
    place = folder.resolve()
    return [job for line in lines if (job := _parsed(line, place)) is not None]


def last_refusal(root: Path, now: datetime) -> str | None:
    """Return why SLURM refuses jobs of a working folder; None where it does not.

    Args:
        root: the working folder.
        now: the time, in UTC.
    """
    path = root / REFUSED
    if not path.exists() or now - datetime.fromtimestamp(path.stat().st_mtime, UTC) > REFUSED_LATELY:
        return None
    return path.read_text(encoding="utf-8").splitlines()[-1]


def cancel(jobs: Sequence[QueuedJob]) -> None:
    """Cancel jobs; those that have ended meanwhile are none to complain of.

    Raises:
        FinetrailError: SLURM refuses.
    """
    if jobs:
        _slurm("scancel", *(job.id for job in jobs))


def _parsed(line: str, folder: Path) -> QueuedJob | None:
    number, state, elapsed, reason, rest = line.split("|", 4)
    place, _, comment = rest.rpartition("|")
    if Path(place).resolve() != folder:
        return None
    if comment == MASTER_COMMENT:
        return QueuedJob(number, state, elapsed, reason, "", "")
    if not comment.startswith("rule_"):
        return None
    rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
    return QueuedJob(number, state, elapsed, reason, rule, wildcards)


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FinetrailError(f"SLURM does not answer: {error}", hint="Run this on a login node") from error
    if done.returncode != 0:
        raise FinetrailError(f"{command[0]}: {done.stderr.strip()}", hint="Is this a login node of the cluster?")
    return done.stdout
