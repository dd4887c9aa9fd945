"""Supervised fine-tuning of a chat model on TRL and PEFT: LoRA, QLoRA or all weights, with exact resume.

`train_adapter` prepares in this process what all share (rows as token ids, the state directory, what is chosen for
the machine), trains here or in several processes (`finetrail.training.launch`), and publishes from the checkpoint.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.errors import FinetrailError
from finetrail.models.base import copy_processor
from finetrail.models.base_model import BaseModel
from finetrail.models.masks import Example, encode_rows
from finetrail.rows.artifacts import read_json, write_json
from finetrail.rows.records import canonical_json, sha256_file, sha256_text
from finetrail.training import worker
from finetrail.training.announce import announce
from finetrail.training.checkpoints.attempts import (
    begin_attempt,
    end_attempt,
    note_attempt,
    outcome_of,
    refuse_another,
    segments,
    trained,
    writers,
)
from finetrail.training.checkpoints.checkpoints import (
    IDENTITY,
    best_checkpoint,
    checkpoint_step,
    ended,
    forget,
    hold,
    newest_complete,
    open_state,
    trainer_state,
)
from finetrail.training.checkpoints.deadline import Deadline, heed_signals
from finetrail.training.checkpoints.failures import fault_of_inputs
from finetrail.training.checkpoints.publish import publish_checkpoint
from finetrail.training.launch import fit_distributed
from finetrail.training.memory_estimate import propose_batch, shape_of
from finetrail.training.settings.hardware import detect
from finetrail.training.settings.job import Job
from finetrail.training.settings.machine_choices import Choices, choose, log_choices, split_update
from finetrail.training.settings.train_settings import Saving, TrainSettings
from finetrail.training.tracking.restore import restore_checkpoint
from finetrail.training.train_loop import fit
from finetrail.training.trainer.load_model import count_parameters
from finetrail.training.trainer.trainer import build_trainer
from finetrail.training.trainer.training_log import drop_steps_after, write_training_log
from finetrail.training.trainer.varlen import suits_varlen
from finetrail.training.trainer_parts import EncodedSplits, TrainerParts

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]


def _encode(
    base: BaseModel,
    _vision_dir: Path | None,
    train_rows: Sequence[Mapping[str, Any]],
    eval_rows: Sequence[Mapping[str, Any]],
    settings: TrainSettings,
    images: str | None,
) -> EncodedSplits:
    """Turn rows into token ids."""
    if not train_rows:
        raise FinetrailError("there are no rows to train on", hint="See what the folds kept and dropped")
    if settings.eval_steps is not None and not eval_rows:
        raise FinetrailError(
            "there are no dev rows, and the best model is to be chosen by their loss",
            where="train.models",
            hint="Give `splits.dev` a share, or take `eval_steps` out",
        )
    base.check(loss=settings.loss, max_length=settings.limits.max_length)
    if settings.adapter:
        base.check_new_tokens(settings.modules_to_save)
    vision = base.vision(images)
    train, dev = (
        encode_rows(rows, base.tokenizer, settings.limits, loss=settings.loss, vision=vision)
        for rows in (train_rows, eval_rows)
    )
    return EncodedSplits(train.examples, dev.examples, len(train.set_aside))


def _dataset(examples: Sequence[Example], settings: TrainSettings | None) -> "Dataset":
    from finetrail.training.trainer.dataset import build_dataset

    return build_dataset(examples, pack_to=settings.limits.max_length if settings and settings.packing else None)


CHAT = TrainerParts(_encode, _dataset, build_trainer, worker.__name__)
"""The parts of a training on chat rows."""


@dataclass(frozen=True)
class TrainReport:
    """What a finished run says of itself; the same for a straight and a resumed run, but for choices and segments.

    Attributes:
        folder: ``final_adapter`` or ``final_checkpoint``.
        steps, published_step: optimizer steps in all, and the one whose weights are published.
        ended: why no more steps were taken.
        rows, target_tokens: training rows and the tokens that carry loss in one epoch.
        trimmed_rows, dropped_passages: rows that lost passages so that they fit, and how many passages.
        dropped_images: rows whose image was not shown, by ``limits.images``.
        set_aside: rows that this model cannot be shown.
        control_texts: control tokens that stand in the rows' texts, and are words to the model.
        trainable_parameters, parameters: counts.
        final_loss, eval_loss: the last logged training loss, and the dev loss of what is published (nats a token).
        choices: what was chosen for the machine, with reasons.
        segments: which code trained from which step on.
    """

    folder: str
    steps: int
    published_step: int
    ended: str
    rows: int
    target_tokens: int
    trimmed_rows: int
    dropped_passages: int
    dropped_images: int
    set_aside: int
    control_texts: int
    trainable_parameters: int
    parameters: int
    final_loss: float | None
    eval_loss: float | None
    choices: Mapping[str, Any]
    segments: Sequence[Mapping[str, Any]]


def train_adapter(
    base: BaseModel,
    train_rows: Sequence[Mapping[str, Any]],
    eval_rows: Sequence[Mapping[str, Any]],
    settings: TrainSettings,
    *,
    state_dir: Path,
    out_dir: Path,
    images: str | None = None,
    saving: Saving | None = None,
    progress: Report | None = None,
    vision_dir: Path | None = None,
    parts: TrainerParts = CHAT,
) -> TrainReport:
    """Tune a base model on chat rows; the assistant's last turn carries loss, or all of its turns do.

    Args:
        base: with a chat template.
        train_rows: see `finetrail.models.masks.encode_row` for their fields.
        eval_rows: dev rows for the evaluation loss; may be empty where nothing is chosen by it.
        settings: everything that decides the weights.
        state_dir: checkpoints and records of steps and attempts; a run that finds a checkpoint continues from the
            newest complete one, bit for bit, and one that finds all steps done only publishes.
        out_dir: gets ``final_adapter/`` (or ``final_checkpoint/``) and ``training_log.jsonl``.
        images: folder that image paths of the rows are relative to.
        saving: when checkpoints are written, and how long the attempt may take.
        progress: called with (steps done, steps in all).
        vision_dir: encoder and classifier, where the model reads pictures by a prefix.
        parts: how rows are encoded, and which trainer takes them.

    Raises:
        FinetrailError: no rows, a row with an image for a model that reads text only, a row that does not fit, a
            tokenizer that would teach the wrong thing (`finetrail.models.base_model.BaseModel.check`), a state
            directory of another run, a loss that is not finite, a setting that needs a GPU, no memory or disk left, or
            an attempt that had to stop (`finetrail.training.checkpoints.failures.Stopped`).
    """
    deadline = Deadline()
    with hold(state_dir), heed_signals(deadline):
        rows = (train_rows, eval_rows)
        saving = saving or Saving()
        return _train(base, vision_dir, rows, settings, images, state_dir, out_dir, saving, deadline, progress, parts)


def _train(
    base: BaseModel,
    vision_dir: Path | None,
    rows: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]],
    settings: TrainSettings,
    images: str | None,
    state_dir: Path,
    out_dir: Path,
    saving: Saving,
    deadline: Deadline,
    progress: Report | None,
    parts: TrainerParts,
) -> TrainReport:
    """Note an attempt, make it, and publish what came of it."""
    started, step = time.time(), _reached(state_dir)
    refuse_another(state_dir, step)
    number = begin_attempt(state_dir, step, saving.code)
    outcome = "finished"
    failure: BaseException | None = None
    try:
        with fault_of_inputs():
            encoded = parts.encode(base, vision_dir, *rows, settings, images)
            train, evaluation = encoded.train, encoded.dev
            open_state(state_dir, _identity(base, vision_dir, train, evaluation, settings), saving.code)
        restore_checkpoint(state_dir, saving.tracking)
        resume = _resume_from(state_dir, saving)
        if resume is not None and ended(resume) is not None:
            logger.info("%s: %s, nothing to train", resume, ended(resume))
            outcome = "published"
        else:
            choices = _choices(base, settings, train, state_dir, resume)
            step = checkpoint_step(resume) if resume else 0
            note_attempt(state_dir, number, step, asdict(choices))
            announce(len(train), len(evaluation), base.folder, settings)
            job = Job(base.folder, state_dir, resume, settings, saving, choices, started, _longest(train), vision_dir)
            _fit(job, train, evaluation, deadline, progress, parts)
        report = _publish(base, settings, train, state_dir, out_dir, parts.written)
        drops = settings.limits.images == "drop"
        return replace(
            report,
            dropped_images=sum(row.get("image") is not None for row in rows[0]) if drops else 0,
            set_aside=encoded.set_aside,
        )
    except BaseException as error:
        outcome, failure = outcome_of(error), error
        raise
    finally:
        try:
            end_attempt(state_dir, number, _reached(state_dir), outcome, failure)
        except OSError as error:  # a full disk, which must not hide what ended the attempt
            logger.warning("the end of this attempt cannot be noted in %s: %s", state_dir, error)


def refuse_hopeless(state_dir: Path) -> None:
    """Stop a retry that would end as the attempt before it, before anything large is read.

    Raises:
        FinetrailError: see `refuse_another`.
    """
    refuse_another(state_dir, _reached(state_dir))


def _reached(state_dir: Path) -> int:
    """Return the step of the newest complete checkpoint; 0 where there is none."""
    newest = newest_complete(state_dir)
    return checkpoint_step(newest) if newest else 0


def _identity(
    base: BaseModel,
    vision_dir: Path | None,
    train: Sequence[Example],
    evaluation: Sequence[Example],
    settings: TrainSettings,
) -> str:
    """Digest what decides the weights: settings, encoded rows, and the bytes of the base."""
    seen = [path for path in vision_dir.iterdir() if path.is_file()] if vision_dir else []
    files = sorted([*base.digests.items(), *((path.name, sha256_file(path)) for path in seen)])
    rows = [
        [example.input_ids, example.labels, [image.sha256 for image in example.images]]
        for example in (*train, *evaluation)
    ]
    return sha256_text(canonical_json([asdict(settings), files, rows]))


def _resume_from(state_dir: Path, saving: Saving) -> Path | None:
    """Find the checkpoint to go on from, or begin again where other code wrote it and that is not wanted."""
    resume = newest_complete(state_dir)
    if resume is None or writers(state_dir, checkpoint_step(resume)) <= {saving.code}:
        return resume
    if saving.on_code_change == "restart":
        logger.warning("%s was written by other code: training begins again (train.on_code_change)", resume)
        identity = read_json(state_dir / IDENTITY)
        forget(state_dir)
        write_json(state_dir / IDENTITY, identity | {"code": saving.code})
        return None
    logger.warning("%s was written by other code: training goes on from it (train.on_code_change)", resume)
    return resume


def _choices(
    base: BaseModel, settings: TrainSettings, train: Sequence[Example], state_dir: Path, resume: Path | None
) -> Choices:
    """Choose for this machine; a training that was begun keeps its batch, so that its steps stay the same."""
    hardware, config = detect(), base.config
    with fault_of_inputs():
        choices = choose(settings, hardware, varlen=settings.prefix is None and suits_varlen(config))
    if resume is not None:
        kept = trained(state_dir)[-1]["choices"]
        names = ("batch_size", "gradient_accumulation", "gradient_checkpointing")
        reasons = {**choices.reasons, **dict.fromkeys(names, "as the training was begun")}
        choices = replace(choices, **{name: kept[name] for name in names}, reasons=reasons)
        for name in ("precision", "attention", "liger"):
            if kept[name] != getattr(choices, name):
                logger.warning("%s was %s before: weights will not be those of a straight run", name, kept[name])
    elif settings.fit_to_memory and not hardware.use_cpu:
        shape = shape_of(config, settings)
        choices = split_update(choices, *propose_batch(settings, choices, shape, _longest(train), hardware.memory))
    log_choices(choices, hardware)
    return choices


def _fit(
    job: Job,
    train: Sequence[Example],
    evaluation: Sequence[Example],
    deadline: Deadline,
    progress: Report | None,
    parts: TrainerParts,
) -> None:
    """Train to the end, or as far as this attempt comes, here or in processes of their own."""
    drop_steps_after(job.state_dir, checkpoint_step(job.resume) if job.resume else 0)
    if job.resume is not None:
        logger.info("resuming from %s", job.resume)
    with fault_of_inputs():
        rows = parts.dataset(train, job.settings), parts.dataset(evaluation, None) if evaluation else None
    if job.settings.launch.distributed:
        fit_distributed(job, *rows, deadline, progress, parts.worker)
    else:
        fit(job, *rows, deadline, progress, parts.build_trainer)


def _longest(train: Sequence[Example]) -> int:
    return max(len(example.input_ids) for example in train)


def _publish(
    base: BaseModel,
    settings: TrainSettings,
    train: Sequence[Example],
    state_dir: Path,
    out_dir: Path,
    written: Sequence[str],
) -> TrainReport:
    """Write the result folder and the log, and gather the report, from the state directory alone."""
    last = newest_complete(state_dir)
    assert last is not None
    best = best_checkpoint(last) if settings.eval_steps is not None else last
    folder = publish_checkpoint(best, out_dir, adapter=settings.adapter)
    copy_processor(base.folder, folder)
    for name in written:
        if (state_dir / name).is_file():
            shutil.copyfile(state_dir / name, folder / name)
    history = trainer_state(last)["log_history"]
    write_training_log(out_dir / "training_log.jsonl", history, state_dir, [example.row_id for example in train])
    losses = [entry["loss"] for entry in history if "loss" in entry]
    dev = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    trainable, parameters = count_parameters(base.config, settings)
    return TrainReport(
        folder=folder.name,
        steps=checkpoint_step(last),
        published_step=checkpoint_step(best),
        ended=ended(last) or "",
        rows=len(train),
        target_tokens=sum(example.target_tokens for example in train),
        trimmed_rows=sum(example.dropped_passages > 0 for example in train),
        dropped_passages=sum(example.dropped_passages for example in train),
        dropped_images=0,
        set_aside=0,
        control_texts=sum(example.control_texts for example in train),
        trainable_parameters=trainable,
        parameters=parameters,
        final_loss=losses[-1] if losses else None,
        eval_loss=dev.get(checkpoint_step(best)),
        choices=trained(state_dir)[-1]["choices"],
        segments=segments(state_dir),
    )
