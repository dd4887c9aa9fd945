"""The runs of a working folder, by what they left under logs/: masters, heartbeats and records of attempts."""

import os
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from finetrail.artifacts import read_json, write_json
from finetrail.lineage.journal import utc_now

MASTER = "master.json"
RUN_FOLDERS = ("logs/runs", "logs/tutorial/runs")


def note_master(run: Path, arguments: Sequence[str]) -> None:
    """Write who leads a run, and how it was started: what has no end written after it may have been killed."""
    place = {"host": socket.gethostname(), "pid": os.getpid(), "arguments": list(arguments)}
    write_json(run / MASTER, place | {"started": utc_now(), "ended": None})


def note_end(run: Path) -> None:
    """Write that a run's master came to its own end, well or not."""
    write_json(run / MASTER, read_json(run / MASTER) | {"ended": utc_now()})


def runs(root: Path) -> list[Path]:
    """List the folders of the runs that had a master, oldest first."""
    found = [path.parent for folder in RUN_FOLDERS for path in (root / folder).glob(f"*/{MASTER}")]
    return sorted(found, key=lambda run: run.name)


def unended(root: Path) -> list[Path]:
    """List the runs whose master did not write its end, oldest first."""
    return [run for run in runs(root) if read_json(run / MASTER)["ended"] is None]


def is_alive(pid: int, word: str) -> bool:
    """Tell whether a process of this machine lives and has a word in its command line (ids are used again)."""
    try:
        return word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def heartbeats(run: Path) -> list[dict[str, Any]]:
    """Read the heartbeats of a run, in order of start."""
    beats: list[dict[str, Any]] = [read_json(path) for path in (run / "heartbeats").glob("*.json")]
    return sorted(beats, key=lambda beat: (beat["started"], beat["job"]))


def found_out(beats: Sequence[dict[str, Any]], queued: Collection[str]) -> list[dict[str, Any]]:
    """Call those jobs lost that say they run and do not: after a kill without warning nobody else says so.

    Args:
        beats: heartbeats.
        queued: SLURM's numbers of the jobs that are in its queue.
    """

    def is_lost(beat: dict[str, Any]) -> bool:
        if beat["status"] != "running":
            return False
        if beat["slurm_job"] is not None:
            return beat["slurm_job"] not in queued
        return beat["host"] == socket.gethostname() and not is_alive(beat["pid"], f"{beat['rule']}.py")

    return [beat | {"status": "lost"} if is_lost(beat) else beat for beat in beats]


def local_orphans(run: Path) -> list[dict[str, Any]]:
    """List the jobs of a run that go on on this machine, beside no SLURM."""
    here = socket.gethostname()
    return [
        beat
        for beat in heartbeats(run)
        if beat["status"] == "running" and beat["slurm_job"] is None and beat["host"] == here
        if is_alive(beat["pid"], f"{beat['rule']}.py")
    ]
