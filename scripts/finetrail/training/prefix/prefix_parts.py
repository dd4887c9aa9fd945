"""The parts of a training whose model reads pictures by a prefix."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.models.base_model import BaseModel
from finetrail.models.control_tokens import SetAside
from finetrail.models.masks import Example
from finetrail.rows.artifacts import read_json
from finetrail.training.prefix import prefix_worker
from finetrail.training.prefix.drawing import draw_rows
from finetrail.training.prefix.prefix_rows import CLASS_TOKENS, TaskExample, build_task_dataset, encode_task
from finetrail.training.prefix.prefix_trainer import SAMPLES, build_prefix_trainer
from finetrail.training.settings.train_settings import TrainSettings
from finetrail.training.trainer_parts import EncodedSplits, TrainerParts
from finetrail.vision.image_encoder import CLASSES

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


def encode_drawn(
    base: BaseModel,
    vision_dir: Path | None,
    train_rows: Sequence[Mapping[str, Any]],
    eval_rows: Sequence[Mapping[str, Any]],
    settings: TrainSettings,
    images: str | None,
) -> EncodedSplits:
    """Encode rows, the train rows as often and in the order in which they are drawn; dev rows of drawn tasks once.

    A row that this model cannot be shown is left out where it was drawn.

    Raises:
        FinetrailError: no rows of a task, a template that fails at most rows, a row that does not fit, or a tokenizer
            that would teach the wrong thing.
    """
    prefix = settings.prefix
    assert prefix is not None and vision_dir is not None
    base.check(loss=settings.loss, max_length=settings.limits.max_length)
    encode = partial(
        encode_task,
        tokenizer=base.tokenizer,
        max_length=settings.limits.max_length,
        prefix_tokens=prefix.image_tokens + CLASS_TOKENS,
        class_ids=read_json(vision_dir / CLASSES),
        images=images,
    )
    drawn, counts = draw_rows([str(row["kind"]) for row in train_rows], prefix.phases, settings.seed)
    aside, known, dev_aside = SetAside(), dict[int, TaskExample](), SetAside()
    places = sorted(set(drawn))
    for place in places:
        with aside.unfit(str(train_rows[place]["id"])):
            known[place] = encode(train_rows[place])
    aside.check(len(places))
    for number, phase in enumerate(counts, start=1):
        shown = ", ".join(f"{task} {count}" for task, count in sorted(phase.items()))
        logger.info("phase %d draws: %s", number, shown)
    cut = sum(example.truncated for example in known.values())
    if cut:
        logger.warning("%d of %d targets are cut, and get no end token (limits.max_length)", cut, len(known))
    tasks = {task for phase in counts for task in phase}
    asked, dev = [row for row in eval_rows if row["kind"] in tasks], list[Example]()
    for row in asked:
        with dev_aside.unfit(str(row["id"])):
            dev.append(encode(row))
    dev_aside.check(len(asked))
    return EncodedSplits([known[place] for place in drawn if place in known], dev, len(aside.reasons))


def _dataset(examples: Sequence[TaskExample], _settings: TrainSettings | None) -> "Dataset":
    return build_task_dataset(examples)


PREFIX = TrainerParts(encode_drawn, _dataset, build_prefix_trainer, prefix_worker.__name__, (SAMPLES,))
