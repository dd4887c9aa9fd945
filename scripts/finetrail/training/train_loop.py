"""The training itself, in one process: alone, or one of several that a launcher started."""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from finetrail.errors import FinetrailError
from finetrail.models.model_folder import read_config, read_tokenizer
from finetrail.training.checkpoints.checkpoint_callback import build_keeper
from finetrail.training.checkpoints.checkpoints import free_bytes
from finetrail.training.checkpoints.deadline import Deadline, find_limits
from finetrail.training.checkpoints.failures import Stopped, fault_of_inputs
from finetrail.training.memory_estimate import is_out_of_memory, out_of_memory, shape_of
from finetrail.training.settings.job import Job
from finetrail.training.settings.train_settings import TrainSettings
from finetrail.training.tracking.tracker import tracked
from finetrail.training.trainer.arguments import build_arguments
from finetrail.training.trainer.training_log import step_recorder
from finetrail.training.trainer_parts import BuildTrainer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

_DISK_FULL = (
    "No space left", "Disk quota exceeded", "File too large",
    "file write failed", "PytorchStreamWriter failed", "unexpected pos",  # torch's writer, which loses the cause
)  # fmt: skip


def fit(
    job: Job,
    train: "Dataset",
    evaluation: "Dataset | None",
    deadline: Deadline,
    progress: Callable[[int, int], None] | None,
    build_trainer: BuildTrainer,
) -> None:
    """Train to the last step, or until a limit or a signal says stop.

    Args:
        job, train, evaluation: what to do, and the rows.
        deadline: signals are heeded already; the limits of the attempt are added.
        progress: called with (steps done, steps in all), or None.
        build_trainer: makes the trainer that the rows are for.

    Raises:
        Stopped: a limit or a signal did.
        InputFault: the loss is not finite, or the model is not for these settings.
        FinetrailError: memory or disk ran out.
    """
    try:
        _fit(job, train, evaluation, deadline, progress, build_trainer)
    except FinetrailError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise _out_of_memory(job) from error
        if _is_disk_full(error):
            raise FinetrailError(
                f"the disk is full ({free_bytes(job.state_dir) >> 20} MB left): a checkpoint could not be written",
                where=str(job.state_dir),
                hint="Make room and run again: it continues from the newest complete checkpoint. "
                "`train.keep_checkpoints` says how many are kept",
            ) from error
        raise


def _fit(
    job: Job,
    train: "Dataset",
    evaluation: "Dataset | None",
    deadline: Deadline,
    progress: Callable[[int, int], None] | None,
    build_trainer: BuildTrainer,
) -> None:
    settings, choices = job.settings, job.choices
    deadline.limits = find_limits(job.saving, job.started)
    arguments = build_arguments(settings, choices, job.saving, job.state_dir, evaluate=evaluation is not None)
    keeper = build_keeper(
        job.state_dir, job.saving.keep, deadline, evaluate=evaluation is not None, fp16=choices.precision == "fp16"
    )
    with tracked(job, deadline, evaluation, arguments.process_index) as watchers:
        tokenizer = read_tokenizer(job.base_dir)
        recorder = step_recorder(job.state_dir, arguments.process_index, progress)
        callbacks = [*_early_stopping(settings), keeper, *watchers]
        with fault_of_inputs():
            trainer = build_trainer(job, tokenizer, train, evaluation, arguments, recorder, callbacks)
        trainer.train(resume_from_checkpoint=str(job.resume) if job.resume else None)
    if keeper.stopped is not None:
        raise Stopped(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}: {keeper.stopped}",
            where=str(job.state_dir),
            hint="A checkpoint is saved: the next attempt continues from it",
        )


def _early_stopping(settings: TrainSettings) -> list["TrainerCallback"]:
    from transformers import EarlyStoppingCallback

    return [] if settings.patience is None else [EarlyStoppingCallback(settings.patience)]


def _out_of_memory(job: Job) -> FinetrailError:
    shape = shape_of(read_config(job.base_dir), job.settings)
    return out_of_memory(job.settings, job.choices, shape, job.longest)


def _is_disk_full(error: BaseException) -> bool:
    """Tell whether the system, safetensors or torch says so."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return any(text in str(error) for text in _DISK_FULL)
