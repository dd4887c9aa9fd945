"""The trainer's callback that feeds Weights & Biases: metrics as they come, an artifact at every checkpoint."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from finetrail.training.checkpoints.checkpoints import checkpoint_folder
from finetrail.training.tracking.adapter_zip import zip_checkpoint
from finetrail.training.tracking.artifact_registry import FOLDER, Registry, run_id
from finetrail.training.tracking.dev_answers import score_answers
from finetrail.training.tracking.wandb_run import WandbRun, check_tracking
from finetrail.training.trainer.training_log import peak_memory

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

    from finetrail.training.checkpoints.deadline import Deadline
    from finetrail.training.settings.job import Job

CHANGES_NO_RESULT = (
    "It mirrors a training, and only where `train.wandb` says so, an operation key; a test compares the weights with"
    " and without it."
)
_TIMES = {"total_flos", "train_runtime", "train_samples_per_second", "train_steps_per_second"}


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
    tracker, failed = Tracker(job, run, deadline, evaluation), True
    try:
        yield [callback_of(tracker)]
        failed = False
    finally:
        tracker.hand_over()
        run.close(failed=failed)


class Tracker:
    """What is shown of one training, and when.

    Args:
        job: what is trained; its saving names the tracking.
        run: where it is shown.
        deadline: is told what artifacts add to the time of a save.
        evaluation: dev rows, for exact match and F1.
    """

    def __init__(self, job: "Job", run: WandbRun, deadline: "Deadline", evaluation: "Dataset | None") -> None:
        assert job.saving.tracking is not None
        self._tracking, self._job, self._run = job.saving.tracking, job, run
        self._deadline, self._evaluation = deadline, evaluation
        self._registry = Registry(job.state_dir / FOLDER)
        self._tokens, self._since = 0.0, time.monotonic()
        self._evaluated: tuple[int, Mapping[str, float]] = (-1, {})

    def log(self, logs: Mapping[str, Any], step: int) -> None:
        """Show what the trainer logs, and how fast it was since it last did."""
        values = {
            shown_as(name): value
            for name, value in logs.items()
            if isinstance(value, int | float) and name not in _TIMES
        }
        if "num_tokens" in logs:
            now, tokens = time.monotonic(), logs["num_tokens"]
            if self._tokens:
                values["train/tokens_per_second"] = (tokens - self._tokens) / (now - self._since)
            self._tokens, self._since = tokens, now
            values["train/peak_memory_mb"] = peak_memory() >> 20
        self._run.log(values, step)

    def evaluated(self, metrics: Mapping[str, float], step: int, model: Any, tokenizer: Any) -> None:
        """Note an evaluation for the artifact of its step, and answer dev rows."""
        found = {name: value for name, value in metrics.items() if name.startswith("eval_")}
        if self._answers():
            answered = score_answers(model, tokenizer, self._evaluation, self._tracking.answers)
            self._run.log({shown_as(name): value for name, value in answered.items()}, step)
            found |= answered
        self._evaluated = (step, found)

    def _answers(self) -> bool:
        """Tell whether dev rows can be answered: not where the model is split among processes, nor about pictures."""
        split = self._job.settings.launch.deepspeed_stage == 3
        rows = self._evaluation
        return rows is not None and self._tracking.answers > 0 and not split and "pictures" not in rows.column_names

    def saved(self, step: int) -> None:
        """Make an artifact of an adapter's checkpoint; whole models are never uploaded."""
        if not self._job.settings.adapter:
            return
        began = time.monotonic()
        self._register(step)
        self._deadline.last_save = (self._deadline.last_save or 0.0) + time.monotonic() - began

    def _register(self, step: int) -> None:
        at, metrics = self._evaluated
        metrics = metrics if at == step else {}
        file = self._registry.folder / f"step-{step}.zip"
        if not zip_checkpoint(checkpoint_folder(self._job.state_dir, step), file):
            return
        settings = self._job.settings
        metadata = artifact_metadata(
            step, metrics, self._tracking.base_model, settings.rank, settings.limits.max_length
        )
        aliases = self._registry.put(file, metadata, score_of(metrics))
        if self._tracking.mode == "online":
            self._run.log_artifact(file, metadata, aliases)

    def hand_over(self) -> None:
        """Offline, hand W&B the last artifacts only: it copies each until it is synced."""
        if self._tracking.mode == "online":
            return
        entries = self._registry.entries()
        for path in sorted({entry.path for entry in entries.values()}):
            aliases = [alias for alias, entry in sorted(entries.items()) if entry.path == path]
            self._run.log_artifact(self._registry.folder / path, entries[aliases[0]].metadata, aliases)


def callback_of(tracker: Tracker) -> "TrainerCallback":
    """Make the trainer's callback; it must come after the one that marks checkpoints complete."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        """Tells the tracker."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            tracker.log(logs, state.global_step)

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **more: Any) -> None:
            tracker.evaluated(metrics, state.global_step, more["model"], more["processing_class"])

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tracker.saved(state.global_step)

    return Watcher()


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
