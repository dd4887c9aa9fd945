"""What a training says of itself in the log before it begins: the sizes of its sets, and how many weights it trains."""

import logging
from pathlib import Path

from finetrail.models.model_folder import read_config
from finetrail.training.settings.train_settings import TrainSettings
from finetrail.training.trainer.load_model import count_parameters

CHANGES_NO_RESULT = "It writes to the log, and gives nothing back."
LOGGER = logging.getLogger(__name__)


def announce(train: int, dev: int, base_dir: Path, settings: TrainSettings) -> None:
    """Log what is about to be trained.

    Args:
        train, dev: rows of the two sets that the model can be shown.
        base_dir: the base model's folder.
        settings: the method and the adapter.
    """
    held_back = f"Size of the validation set: {dev}." if dev else "(No validation set)"
    LOGGER.info("Size of the train set: %d. %s", train, held_back)
    trainable, parameters = count_parameters(read_config(base_dir), settings)
    share = 100 * trainable / parameters
    LOGGER.info("trainable params: %d || all params: %d || trainable%%: %.4f", trainable, parameters, share)
