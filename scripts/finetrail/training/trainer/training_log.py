"""What a training run leaves to read: losses step by step, the rows of every batch, speed and memory."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.rows.artifacts import atomic_path
from finetrail.rows.records import read_rows, write_jsonl

if TYPE_CHECKING:
    from transformers import TrainerCallback

# The trainer's names and ours.
_FIELDS = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "eval_mean_token_accuracy": "eval_token_accuracy",
}
# Differ from run to run; everything else in the log is the same for the same weights.
MEASURED = ("steps_per_second", "tokens_per_second", "peak_memory_mb")


def write_training_log(
    path: Path, history: Sequence[Mapping[str, Any]], state_dir: Path, row_ids: Sequence[str]
) -> int:
    """Write one row a step, evaluations merged into their step's row.

    Args:
        path: ``training_log.jsonl``: step, epoch, loss and eval_loss (nats a token), learning_rate, grad_norm,
            token_accuracy, rows (ids of the rows that the update saw), row_losses (of each row, where tasks are drawn),
            and, as measured, steps_per_second, tokens_per_second (of all processes), peak_memory_mb (of the largest).
        history: ``trainer.state.log_history``, which a resumed run continues.
        state_dir: holds what `step_recorder` wrote.
        row_ids: ids of the training rows, in the order of the examples.

    Returns:
        The number of rows.
    """
    rows: dict[int, dict[str, Any]] = {}
    for entry in history:
        values = {ours: entry[theirs] for theirs, ours in _FIELDS.items() if theirs in entry}
        if values:
            row = rows.setdefault(entry["step"], {"step": entry["step"], "epoch": entry.get("epoch")})
            row.update(values)
    for step, seen in _steps(state_dir):
        if step in rows:
            rows[step].update(_merged(seen, row_ids))
    with atomic_path(path) as temporary:
        return write_jsonl(temporary, (rows[step] for step in sorted(rows)))


def _steps(state_dir: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield each step with what its processes recorded; of a step that was done twice, the later time counts."""
    by_step: dict[int, dict[str, dict[str, Any]]] = {}
    for path in sorted(state_dir.glob("steps.*.jsonl"), key=lambda path: int(path.name.split(".")[1])):
        for row in read_rows(path):
            by_step.setdefault(row["step"], {})[path.name] = row
    for step, seen in sorted(by_step.items()):
        yield step, list(seen.values())


def _merged(seen: Sequence[Mapping[str, Any]], row_ids: Sequence[str]) -> dict[str, Any]:
    seconds = max(row["seconds"] for row in seen)
    scored = [loss for row in seen for loss in row.get("row_losses", ())]
    return {
        **({"row_losses": scored} if scored else {}),
        "rows": [row_ids[place] for row in seen for place in row["rows"]],
        "steps_per_second": round(1 / seconds, 4) if seconds > 0 else None,
        "tokens_per_second": round(sum(row["tokens"] for row in seen) / seconds, 1) if seconds > 0 else None,
        "peak_memory_mb": max(row["peak_memory_mb"] for row in seen),
    }


def drop_steps_after(state_dir: Path, step: int) -> None:
    """Forget steps that will be done again, and a line that a dying process cut off."""
    for path in state_dir.glob("steps.*.jsonl"):
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n") or json.loads(line)["step"] > step:
                break
            kept.append(line)
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


def step_recorder(state_dir: Path, rank: int, report: Any) -> "TrainerCallback":
    """Make the callback that notes every step of this process: rows, tokens, seconds, memory.

    Args:
        state_dir: gets ``steps.<rank>.jsonl``.
        rank: of this process.
        report: called with (step, steps in all), or None.
    """
    from transformers import TrainerCallback

    class StepRecorder(TrainerCallback):  # type: ignore[misc]
        """The trainer calls `saw` with each batch, then `on_step_end`."""

        def __init__(self) -> None:
            self.rows: list[int] = []
            self.tokens = 0
            self.losses: list[float] = []
            self.stream = (state_dir / f"steps.{rank}.jsonl").open("a", encoding="utf-8")

        def saw(self, rows: Sequence[int] = (), tokens: int = 0, losses: Sequence[float] = ()) -> None:
            self.rows.extend(rows)
            self.tokens += tokens
            self.losses.extend(losses)

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.since = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            now = time.monotonic()
            row = {
                "step": state.global_step,
                "steps": state.max_steps,
                "rows": self.rows,
                "tokens": self.tokens,
                "row_losses": self.losses,
                "seconds": round(now - self.since, 4),
                "peak_memory_mb": peak_memory() >> 20,
            }
            self.stream.write(json.dumps(row) + "\n")
            self.stream.flush()
            self.rows, self.tokens, self.losses, self.since = [], 0, [], now
            if report is not None:
                report(state.global_step, state.max_steps)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            os.fsync(self.stream.fileno())
            self.since = time.monotonic()  # neither saving nor evaluating is training

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.since = time.monotonic()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.stream.close()

    return StepRecorder()


def peak_memory() -> int:
    """Return the most bytes that this process has held: of the GPU where there is one."""
    import resource

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
