"""The runs of a working folder, by what they left under logs/: masters, heartbeats and records of attempts."""

import os
import socket
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from finetrail.artifacts import read_json, write_json
from finetrail.lineage.journal import utc_now

MASTER = "master.json"
RUN_FOLDERS = ("logs/runs", "logs/tutorial/runs")
METADATA = Path(".snakemake/metadata")


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


def unrecorded_outputs(root: Path, run: Path) -> Iterator[Path]:
    """List outputs that jobs of a run published unseen: Snakemake does not know how they were made."""
    for path in sorted((run / "jobs").glob("*.json")):
        record = read_json(path)
        if record["status"] != "complete":
            continue
        for output in record["outputs"]:
            name = Path(output["path"])
            if not (root / _metadata_path(output["path"])).exists() and (root / name).exists():
                yield name


def _metadata_path(output: str) -> Path:
    """Name Snakemake's record of an output: its path in base 64, in pieces that a file name can be."""
    longest = os.pathconf(".", "PC_NAME_MAX")
    key = urlsafe_b64encode(output.encode()).decode()
    pieces = [key[start : start + longest - 1] for start in range(0, len(key), longest - 1)]
    return METADATA.joinpath(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
