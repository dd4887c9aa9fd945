"""One process of the training of a model that reads pictures, started as `finetrail.training.worker` is."""

import sys
from pathlib import Path

from finetrail.training.prefix.prefix_trainer import build_prefix_trainer
from finetrail.training.worker import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), build_prefix_trainer))
