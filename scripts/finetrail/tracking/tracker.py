"""The trainer's callback that feeds Weights & Biases: metrics as they come, an artifact at every checkpoint."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.artifacts import read_json
from finetrail.tracking.adapter_zip import zip_checkpoint
from finetrail.tracking.dev_answers import score_answers
from finetrail.tracking.registry import Registry
from finetrail.tracking.wandb_run import WandbRun, check_tracking
from finetrail.training.checkpoints import IDENTITY, checkpoint_folder
from finetrail.training.training_log import peak_memory

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

    from finetrail.training.deadline import Deadline
    from finetrail.training.job import Job

FOLDER = "wandb"
_TIMES = {"total_flos", "train_runtime", "train_samples_per_second", "train_steps_per_second"}


def run_id(state_dir: Path) -> str:
    """Return the id of a training at W&B: that of its data and settings."""
    return str(read_json(state_dir / IDENTITY)["identity"])[:16]


@contextmanager
def tracked(
    job: "Job", deadline: "Deadline", evaluation: "Dataset | None", rank: int
) -> Iterator[Sequence["TrainerCallback"]]:
    """Yield the callbacks that show a training to W&B: none where it is off, and in other processes than the first.

    Args:
        job: what is trained.
        deadline: is told what the artifact adds to the time of a save.
        evaluation: dev rows, for exact match and F1.
        rank: of this process.

    Raises:
        FinetrailError: W&B cannot be used as configured.
    """
    tracking = job.saving.tracking
    if tracking is None or rank != 0:
        yield []
        return
    check_tracking(tracking)
    config = {"settings": asdict(job.settings), "choices": asdict(job.choices), "base_model": tracking.base_model}
    run = WandbRun(tracking, job.state_dir / FOLDER, run_id(job.state_dir), config)
    tracker = build_tracker(job, run, deadline, evaluation)
    failed = True
    try:
        yield [tracker]
        failed = False
    finally:
        tracker.hand_over()
        run.close(failed=failed)


def build_tracker(job: "Job", run: WandbRun, deadline: "Deadline", evaluation: "Dataset | None") -> Any:
    """Make the callback; it must come after the one that marks checkpoints complete."""
    from transformers import TrainerCallback

    tracking, settings = job.saving.tracking, job.settings
    assert tracking is not None
    registry = Registry(job.state_dir / FOLDER)

    class Tracker(TrainerCallback):  # type: ignore[misc]
        """Metrics go out under ``train/`` and ``eval/``."""

        def __init__(self) -> None:
            self.tokens = 0.0
            self.since = time.monotonic()
            self.evaluated: tuple[int, Mapping[str, float]] = (-1, {})

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.since = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            values = {}
            for name, value in logs.items():
                if isinstance(value, int | float) and name not in _TIMES:
                    values[shown_as(name)] = value
            if "num_tokens" in logs:
                now = time.monotonic()
                if self.tokens:
                    values["train/tokens_per_second"] = (logs["num_tokens"] - self.tokens) / (now - self.since)
                self.tokens, self.since = logs["num_tokens"], now
                values["train/peak_memory_mb"] = peak_memory() >> 20
            run.log(values, state.global_step)

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **more: Any) -> None:
            found = {name: value for name, value in metrics.items() if name.startswith("eval_")}
            if evaluation is not None and tracking.answers and settings.launch.deepspeed_stage != 3:
                answered = score_answers(more["model"], more["processing_class"], evaluation, tracking.answers)
                run.log({shown_as(name): value for name, value in answered.items()}, state.global_step)
                found |= answered
            self.evaluated = (state.global_step, found)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not settings.adapter:
                return  # whole models are never uploaded
            began = time.monotonic()
            step, metrics = self.evaluated
            register(state.global_step, metrics if step == state.global_step else {})
            deadline.last_save = (deadline.last_save or 0.0) + time.monotonic() - began

        def hand_over(self) -> None:
            """Offline, note the last artifacts only: each is copied until it is synced."""
            if tracking.mode == "online":
                return
            entries = registry.entries()
            for path in sorted({entry.path for entry in entries.values()}):
                aliases = [alias for alias, entry in sorted(entries.items()) if entry.path == path]
                run.log_artifact(registry.folder / path, entries[aliases[0]].metadata, aliases)

    def register(step: int, metrics: Mapping[str, float]) -> None:
        file = registry.folder / f"step-{step}.zip"
        if not zip_checkpoint(checkpoint_folder(job.state_dir, step), file):
            return
        metadata = artifact_metadata(step, metrics, tracking.base_model, settings.rank, settings.limits.max_length)
        aliases = registry.put(file, metadata, score_of(metrics))
        if tracking.mode == "online":
            run.log_artifact(file, metadata, aliases)

    return Tracker()


def shown_as(name: str) -> str:
    """Return the name that a metric of the trainer's has at W&B, which groups by what stands before the slash."""
    return f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"


def artifact_metadata(
    step: int, metrics: Mapping[str, float], base_model: str, rank: int, length: int
) -> dict[str, Any]:
    """Return the six fields of an artifact; the scores are null where none were taken at its step."""
    return {
        "step": step,
        "eval_f1": metrics.get("eval_f1"),
        "eval_em": metrics.get("eval_em"),
        "base_model": base_model,
        "lora_rank": rank,
        "sequence_length": length,
    }


def score_of(metrics: Mapping[str, float]) -> float | None:
    """Return what ``best`` is chosen by, the higher the better: F1; the dev loss, negated, where nothing was answered.

    A tie of F1 is broken by the loss, which is finer.
    """
    loss = metrics.get("eval_loss")
    if "eval_f1" not in metrics:
        return None if loss is None else -loss
    return metrics["eval_f1"] - (1e-6 * min(loss, 1e3) if loss is not None else 0.0)
