"""How long an attempt may take: its own limit, and the job's under SLURM; and signals, where nobody can be asked."""

import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import FrameType

from finetrail.training.settings.train_settings import Saving

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_SAVES_LEFT = 3  # save when less than three times the last save is left
_FIRST_SAVE = 60.0  # seconds, until one was measured

logger = logging.getLogger(__name__)


@dataclass
class Deadline:
    """When to stop, known beforehand or told by a signal.

    Attributes:
        limits: (seconds since the epoch, least seconds to keep, what sets it), for each limit there is.
        signalled: the name of the signal that told us to stop.
        stop_file: gets such a name, where another process hears the signals of a training.
        last_save: seconds that the last checkpoint took.
        longest_step, longest_evaluation: seconds of the longest step, and of the longest dev loss so far.
    """

    limits: list[tuple[float, float, str]] = field(default_factory=list)
    signalled: str | None = None
    stop_file: Path | None = None
    last_save: float | None = None
    longest_step: float = 0.0
    longest_evaluation: float = 0.0

    def reason(self, now: float, *, evaluates: bool = False) -> str | None:
        """Say why to save and stop now; None to go on.

        Args:
            now: seconds since the epoch.
            evaluates: whether the next step takes the dev loss, during which nobody can stop.
        """
        if self.signalled is not None:
            return f"{self.signalled} asked for it"
        if self.stop_file is not None and self.stop_file.exists():
            return f"{self.stop_file.read_text() or 'a signal'} asked for it"
        save = self.last_save if self.last_save is not None else _FIRST_SAVE
        needed = _SAVES_LEFT * save + self.longest_step + (self.longest_evaluation if evaluates else 0.0)
        for end, least, name in self.limits:
            if end - now < max(needed, least):
                return f"{name} leaves {timedelta(seconds=max(0, round(end - now)))}"
        return None


def find_limits(saving: Saving, started: float) -> list[tuple[float, float, str]]:
    """Find every limit of this attempt, as `Deadline.limits` holds them.

    Args:
        saving: ``max_hours`` and ``save_before_minutes``.
        started: when the attempt began, in seconds since the epoch.
    """
    limits = []
    if saving.max_hours is not None:
        limits.append((started + 3600 * saving.max_hours, 60 * saving.save_before_minutes, "`train.max_hours`"))
    if (end := slurm_end()) is not None:
        limits.append((end, 0.0, "SLURM's time limit"))
    for moment, _, name in limits:
        logger.info("%s ends this attempt in %s", name, timedelta(seconds=round(moment - time.time())))
    return limits


def slurm_end() -> float | None:
    """Ask SLURM when this job must end, in seconds since the epoch; None outside of it, or without a limit."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    if known := os.environ.get("SLURM_JOB_END_TIME"):
        return float(known)
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--jobs", job, "--format", "%L"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("SLURM does not say when the job ends (%s): only its signals will", error)
        return None
    left = parse_left(done.stdout.strip())
    return None if left is None else time.time() + left


def parse_left(text: str) -> float | None:
    """Read SLURM's ``[days-]hours:minutes:seconds`` (hours and days left out where 0) as seconds.

    Returns:
        None for ``UNLIMITED``, ``INVALID`` and whatever else is no time.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


@contextmanager
def heed_signals(deadline: Deadline) -> Iterator[None]:
    """Take signals as a wish to save and stop at the next step; a second one ends the process as ever."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _frame: FrameType | None) -> None:
        deadline.signalled = signal.Signals(number).name
        logger.warning("%s: saving at the end of this step, then stopping", deadline.signalled)
        signal.signal(number, before[signal.Signals(number)])

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
