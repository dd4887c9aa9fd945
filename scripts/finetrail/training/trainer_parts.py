"""What trainings differ in that read other rows: how rows are encoded, and which trainer takes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.models.base_model import BaseModel
from finetrail.models.masks import Example
from finetrail.training.settings.job import Job
from finetrail.training.settings.train_settings import TrainSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback
    from trl import SFTConfig

Rows = Sequence[Mapping[str, Any]]
BuildTrainer = Callable[
    [
        Job,
        "PreTrainedTokenizerBase",
        "Dataset",
        "Dataset | None",
        "SFTConfig",
        Any,
        Sequence["TrainerCallback"],
    ],
    "Trainer",
]
"""Builds a trainer of the job, the tokenizer, train and dev rows, the arguments, the recorder and the callbacks."""


@dataclass(frozen=True)
class EncodedSplits:
    """What is trained on.

    Attributes:
        train, dev: examples, the train rows as often as they are shown.
        set_aside: train rows that this model cannot be shown.
    """

    train: list[Example]
    dev: list[Example]
    set_aside: int


@dataclass(frozen=True)
class TrainerParts:
    """The parts of a training that depend on what the model reads.

    Attributes:
        encode: turns train and dev rows into examples, given the base, the encoder's folder, rows, settings and the
            folder of images.
        dataset: turns examples into what the trainer takes; the settings are given for train rows only.
        build_trainer: see `BuildTrainer`.
        worker: the module that each process of a distributed training runs.
        written: files of the state directory that are published beside the weights, where they are there.
    """

    encode: Callable[[BaseModel, Path | None, Rows, Rows, TrainSettings, str | None], EncodedSplits]
    dataset: Callable[[Sequence[Any], TrainSettings | None], "Dataset"]
    build_trainer: BuildTrainer
    worker: str
    written: tuple[str, ...] = ()
