"""The attempts at one training: who trained from which step with which code, and why it ended.

Retries go on from the newest checkpoint. Two kinds are refused before they count as an attempt. After a fault of data
or settings, a retry says again what the attempt said. A retry that would begin where the last attempt of the same run
began names that one's cause: it would advance nothing either.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import atomic_path
from finetrail.rows.records import dump_row, parse_line, write_jsonl
from finetrail.step.journal import shared_run_folder, utc_now
from finetrail.training.checkpoints.failures import InputFault, Stopped, failure_as_plain, failure_from_plain

ATTEMPTS = "attempts.jsonl"
KILLED = "it was ended from outside (memory, time limit, a person) before its first checkpoint"
REFUSED = "refused"
_GOOD = ("finished", "published")


def read_attempts(state_dir: Path) -> list[dict[str, Any]]:
    """Return the attempts in order: number, run, code, from_step, started, host, and how they ended where known."""
    attempts: dict[int, dict[str, Any]] = {}
    for row in _rows(state_dir):
        attempts.setdefault(row["attempt"], {}).update(row)
    return list(attempts.values())


def refuse_another(state_dir: Path, step: int) -> None:
    """Stop a retry that would end as the last attempt of the same run of the workflow, before it loads anything.

    Raises:
        InputFault: the last attempt met this fault of data or settings.
        FinetrailError: the last attempt began at this step too.
    """
    run = _run()
    before = [attempt for attempt in read_attempts(state_dir) if attempt["run"] == run]
    if run is None or not before:
        return
    last = before[-1]
    if last.get("outcome") == REFUSED:
        raise failure_from_plain(last["fault"])
    if last["from_step"] != step or last.get("outcome") in _GOOD:
        return
    cause = last.get("cause") or KILLED
    raise FinetrailError(
        f"an attempt that began at step {step} advanced nothing, so another one would not either: {cause}",
        where=str(state_dir),
        hint="Mend it (more time or memory, a smaller `train.save_steps`) and start a new run: it continues here",
    )


def begin_attempt(state_dir: Path, step: int, code: str | None) -> int:
    """Note that an attempt begins, and return its number, counted from 1."""
    number = len(read_attempts(state_dir)) + 1
    state_dir.mkdir(parents=True, exist_ok=True)
    begun = {"run": _run(), "code": code, "from_step": step, "started": utc_now(), "host": socket.gethostname()}
    _append(state_dir, {"attempt": number, **begun})
    return number


def note_attempt(state_dir: Path, number: int, step: int, choices: Mapping[str, Any]) -> None:
    """Note what an attempt found: the step that it trains from, and what was chosen for the machine."""
    _append(state_dir, {"attempt": number, "from_step": step, "choices": dict(choices)})


def outcome_of(error: BaseException) -> str:
    """Name how an error ended an attempt: ``stopped`` (it may go on), ``refused`` (a fault of inputs) or ``failed``."""
    if isinstance(error, Stopped):
        return "stopped"
    return REFUSED if isinstance(error, InputFault) else "failed"


def end_attempt(state_dir: Path, number: int, step: int, outcome: str, error: BaseException | None = None) -> None:
    """Note how an attempt ended: ``finished``, ``published`` (all was done), or as `outcome_of` names it."""
    cause = None if error is None else str(error) or type(error).__name__
    row = {"attempt": number, "to_step": step, "outcome": outcome, "cause": cause, "ended": utc_now()}
    fault = {"fault": failure_as_plain(error)} if isinstance(error, InputFault) else {}
    _append(state_dir, row | fault)


def trained(state_dir: Path) -> list[dict[str, Any]]:
    """Return the attempts that came as far as training."""
    return [attempt for attempt in read_attempts(state_dir) if "choices" in attempt]


def segments(state_dir: Path) -> list[dict[str, Any]]:
    """Return which code trained from which step on, for the meta file; nothing in it depends on time or place."""
    found: list[dict[str, Any]] = []
    for attempt in trained(state_dir):
        found = [segment for segment in found if segment["from_step"] < attempt["from_step"]]
        if not found or found[-1]["code"] != attempt["code"]:
            found.append({"from_step": attempt["from_step"], "code": attempt["code"]})
    return found


def writers(state_dir: Path, step: int) -> set[str | None]:
    """Return whose code led to the checkpoint of a step: an attempt that died before one of its own does not count."""
    return {segment["code"] for segment in segments(state_dir) if segment["from_step"] < step}


def adopt_attempts(state_dir: Path, earlier: Iterable[Mapping[str, Any]]) -> None:
    """Put the attempts that a brought back checkpoint tells of before those that are known here.

    Args:
        state_dir: knows them already, or was lost as a whole and begun anew.
        earlier: rows of another ``attempts.jsonl``; they get the numbers below 1.
    """
    here, told = _rows(state_dir), list(earlier)
    begun = {(row["started"], row["host"]) for row in here if "started" in row}
    if any((row["started"], row["host"]) in begun for row in told if "started" in row):
        return
    last = max((row["attempt"] for row in told), default=0)
    with atomic_path(state_dir / ATTEMPTS) as temporary:
        write_jsonl(temporary, [*({**row, "attempt": row["attempt"] - last} for row in told), *here])


def _run() -> str | None:
    folder = shared_run_folder()
    return folder.name if folder else None


def _rows(state_dir: Path) -> list[dict[str, Any]]:
    path = state_dir / ATTEMPTS
    lines = _whole_lines(path).splitlines()
    return [parse_line(line + b"\n", path, number) for number, line in enumerate(lines, start=1)]


def _whole_lines(path: Path) -> bytes:
    """Return what was written to its end: a full disk or a dying machine cuts off the last line."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def _append(state_dir: Path, row: Mapping[str, Any]) -> None:
    path = state_dir / ATTEMPTS
    with path.open("ab") as stream:
        stream.truncate(len(_whole_lines(path)))
        stream.write(f"{dump_row(dict(row))}\n".encode())
        stream.flush()
        os.fsync(stream.fileno())
