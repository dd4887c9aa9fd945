"""The table that `make status` shows: one line a job, and what the run has used so far."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from finetrail.cluster.queue import QueuedJob
from finetrail.step.progress import format_seconds

SECONDS_PER_HOUR = 3600
ORDER = ("running", "starting", "waiting", "lost", "failed", "interrupted", "complete")


@dataclass(frozen=True)
class Line:
    """A job of the table; every field is what is shown."""

    state: str
    job: str
    where: str = ""
    time: str = ""
    heartbeat: str = ""
    progress: str = ""
    rate: str = ""
    left: str = ""
    usd: str = ""
    gpu_hours: str = ""
    note: str = ""


def lines(beats: Sequence[Mapping[str, Any]], jobs: Sequence[QueuedJob], now: datetime) -> list[Line]:
    """Put heartbeats and queue together, what works first and what is done last.

    Args:
        beats: the heartbeats of the jobs' latest attempts, as `finetrail.cluster.runs.found_out` has them.
        jobs: the jobs of its working folder that are in SLURM's queue; none without SLURM.
        now: the time, in UTC.
    """
    begun = {beat["slurm_job"] for beat in beats if beat["status"] == "running"}
    shown = [_queued(job) for job in jobs if job.is_waiting or job.id not in begun]
    waiting = {job.id for job in jobs if job.is_waiting}
    shown += [_begun(beat, now) for beat in beats if beat["slurm_job"] not in waiting]
    return sorted(shown, key=lambda line: ORDER.index(line.state))


def render(shown: Sequence[Line]) -> str:
    """Lay the lines out in columns as wide as they must be; columns that hold nothing are left out."""
    heads = [field.name.replace("_", "-") for field in fields(Line)]
    rows = [heads, *(list(astuple(line)) for line in shown)]
    used = [number for number in range(len(heads)) if any(row[number] for row in rows[1:])]
    widths = [max(len(row[number]) for row in rows) for number in used]
    table = ["  ".join(row[number].ljust(width) for number, width in zip(used, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in table)


def gpu_hours(beat: Mapping[str, Any], now: datetime) -> float:
    """Return the GPU-hours of an attempt so far."""
    return float(beat.get("gpus", 0)) * _seconds(beat, now) / SECONDS_PER_HOUR


def totals(beats: Sequence[Mapping[str, Any]], now: datetime) -> str:
    """Say what all attempts of a run have come to, those that failed or were lost, too."""
    usd = sum(_usd(beat) or 0.0 for beat in beats)
    unknown = any("llm" in beat and _usd(beat) is None for beat in beats)
    spent = f"{usd:.4f} USD" + (" and calls without a price" if unknown else "")
    return f"{spent}, {sum(gpu_hours(beat, now) for beat in beats):.2f} GPU-hours"


def _queued(job: QueuedJob) -> Line:
    state = "waiting" if job.is_waiting else "starting"
    name = f"{job.rule} {job.wildcards}".strip()
    return Line(state, name, f"job {job.id}", note=job.reason if job.is_waiting else job.state.lower())


def _begun(beat: Mapping[str, Any], now: datetime) -> Line:
    state = str(beat["status"])
    progress = beat.get("progress") or {}
    number = f"job {beat['slurm_job']} on " if beat["slurm_job"] else ""
    hours = gpu_hours(beat, now)
    usd = _usd(beat)
    live = state == "running"
    left = progress.get("seconds_left")
    return Line(
        state,
        beat["job"],
        f"{number}{beat['host']}",
        format_seconds(_seconds(beat, now)),
        format_seconds((now - _time(beat["updated"])).total_seconds()) if live else "",
        f"{progress['done']}/{progress['total'] or '?'}" if progress else "",
        f"{progress['per_second']:g}/s" if progress and live else "",
        format_seconds(left) if live and left is not None else "",
        "" if usd is None else f"{usd:.4f}",
        f"{hours:.2f}" if hours else "",
        str(beat.get("error", "")).partition("\n")[0],
    )


def _seconds(beat: Mapping[str, Any], now: datetime) -> float:
    """Return how long an attempt took, or has taken; one that was killed counts to its last heartbeat."""
    last = beat["ended"] or (beat["updated"] if beat["status"] != "running" else None)
    return ((_time(last) if last else now) - _time(beat["started"])).total_seconds()


def _usd(beat: Mapping[str, Any]) -> float | None:
    value = (beat.get("llm") or {}).get("usd")
    return None if value is None else float(value)


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
