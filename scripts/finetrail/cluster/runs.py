"""The runs of a working folder, by what they left under logs/: masters, heartbeats and records of attempts."""

import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json, write_json
from finetrail.step.journal import utc_now

MASTER = "master.json"
RUN_FOLDERS = ("logs/runs", "logs/tutorial/runs")


def note_master(run: Path, arguments: Sequence[str], *, submits: bool) -> None:
    """Write who leads a run, and how it was started: what has no end written after it may have been killed.

    Args:
        run: folder of the run.
        arguments: Snakemake's.
        submits: whether its jobs go to a cluster.
    """
    place = {"host": socket.gethostname(), "pid": os.getpid(), "slurm_job": os.environ.get("SLURM_JOB_ID")}
    started = {"submits": submits, "arguments": list(arguments), "started": utc_now(), "ended": None}
    write_json(run / MASTER, place | started)


def note_end(run: Path) -> None:
    """Write that a run's master came to its own end, well or not."""
    write_json(run / MASTER, read_json(run / MASTER) | {"ended": utc_now()})


def note_lost(run: Path) -> None:
    """Write that somebody looked, and a run's master is dead: who cannot look there may go on with the run."""
    write_json(run / MASTER, read_json(run / MASTER) | {"lost": utc_now()})


def runs(root: Path) -> list[Path]:
    """List the folders of the runs that had a master, oldest first."""
    found = [path.parent for folder in RUN_FOLDERS for path in (root / folder).glob(f"*/{MASTER}")]
    return sorted(found, key=lambda run: run.name)


def unended(root: Path) -> list[Path]:
    """List the runs whose master did not write its end, oldest first."""
    return [run for run in runs(root) if read_json(run / MASTER)["ended"] is None]


def check_masters(left: Sequence[Path], *, trust: bool) -> None:
    """Stop where the master of a run lives, or may live on a machine that cannot be looked at from here.

    A master that was this very job of SLURM, before it was queued again, is dead; so is one that was found dead before.

    Args:
        left: runs without an end.
        trust: whether somebody looked at the masters on other machines.

    Raises:
        FinetrailError: says where it runs, and what to do.
    """
    for run in left:
        master = read_json(run / MASTER)
        host, pid = master["host"], master["pid"]
        if master.get("lost"):
            continue
        if host == socket.gethostname():
            if is_alive(pid, "snakemake"):
                hint = f"Let it work, or end it: kill -INT {pid} (it cancels its jobs)"
                raise FinetrailError(f"the master of a run in this folder is alive: process {pid}", hint=hint)
        elif not trust and not _was_this_job(master):
            hint = f"Look there (ps {pid}). If it is dead: make resume MASTER=gone"
            raise FinetrailError(f"the master ran on {host}, which cannot be looked at from here", hint=hint)


def _was_this_job(master: Mapping[str, Any]) -> bool:
    """Tell whether a master was this job of SLURM; one that was queued again has none of its processes left."""
    is_restarted = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
    return is_restarted and master.get("slurm_job") == os.environ.get("SLURM_JOB_ID")


def is_alive(pid: int, word: str) -> bool:
    """Tell whether a process of this machine lives and has a word in its command line (ids are used again)."""
    try:
        return word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def heartbeats(run: Path) -> list[dict[str, Any]]:
    """Read the heartbeats of a run's attempts, in order of start."""
    beats: list[dict[str, Any]] = [read_json(path) for path in (run / "heartbeats").glob("*.json")]
    return sorted(beats, key=lambda beat: (beat["started"], beat["attempt"]))


def latest(beats: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the heartbeat of each job's latest attempt.

    Args:
        beats: heartbeats in order of start.
    """
    return list({beat["job"]: beat for beat in beats}.values())


def found_out(beats: Sequence[dict[str, Any]], queued: Collection[str]) -> list[dict[str, Any]]:
    """Call those jobs lost that say they run and do not: after a kill without warning nobody else says so.

    Args:
        beats: heartbeats in order of start.
        queued: SLURM's numbers of the jobs that are in its queue.
    """

    last = {beat["job"]: beat for beat in beats}

    def is_lost(beat: dict[str, Any]) -> bool:
        if beat["status"] != "running":
            return False
        if last[beat["job"]] is not beat:  # queued again under the same number, say
            return True
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
