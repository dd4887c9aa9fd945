"""What a training run leaves to read: losses step by step, and speed (which is never the same)."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.artifacts import atomic_path
from finetrail.records import write_jsonl

if TYPE_CHECKING:
    from transformers import TrainerCallback

# The trainer's names and ours; whatever it measures by the clock stays out.
_FIELDS = {
    "loss": "loss",
    "eval_loss": "eval_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "eval_mean_token_accuracy": "eval_token_accuracy",
}


def write_training_log(path: Path, history: Sequence[Mapping[str, Any]]) -> int:
    """Write the trainer's history as one row a logged step, evaluations merged into their step's row.

    Args:
        path: ``training_log.jsonl``: step, epoch, loss and eval_loss (nats a token), learning_rate,
            grad_norm, token_accuracy.
        history: ``trainer.state.log_history``, which a resumed run continues.

    Returns:
        The number of rows.
    """
    rows: dict[int, dict[str, Any]] = {}
    for entry in history:
        values = {ours: entry[theirs] for theirs, ours in _FIELDS.items() if theirs in entry}
        if values:
            row = rows.setdefault(entry["step"], {"step": entry["step"], "epoch": entry.get("epoch")})
            row.update(values)
    with atomic_path(path) as temporary:
        return write_jsonl(temporary, (rows[step] for step in sorted(rows)))


def speed_callback(path: Path, tokens_of_step: float, report: Any) -> "TrainerCallback":
    """Make the trainer's callback that appends wall-clock figures to a file and reports progress.

    Args:
        path: ``training_speed.jsonl``: step, seconds since this process began to train, tokens_per_second (by
            the mean length of the rows). Differs from run to run and enters no hash.
        tokens_of_step: tokens of an average optimizer step.
        report: called with (step, steps in all), or None.
    """
    from transformers import TrainerCallback

    class Speed(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began, self.first = time.monotonic(), state.global_step

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if report is not None:
                report(state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seconds = time.monotonic() - self.began
            tokens = tokens_of_step * (state.global_step - self.first)
            row = {
                "step": state.global_step,
                "seconds": round(seconds, 3),
                "tokens_per_second": round(tokens / seconds, 1) if seconds > 0 else None,
            }
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    return Speed()
