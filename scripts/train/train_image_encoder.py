"""Train the image encoder and the classifier on the images of train records, or take both from checkpoints.

No dev or test image is learned from; the accuracy on those of dev is reported.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.rows.records import read_rows, read_table
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("vision", "source.images")
ENVIRONMENT = "train"


def labelled_images(records: Path, splits: Path, folder: Path) -> dict[str, list[tuple[Path, str]]]:
    """Return the images of train and dev records, each content once, with their classes."""
    homes = {name: row["split"] for name, row in read_table(splits).items()}
    found: dict[str, dict[str, tuple[Path, str]]] = {"train": {}, "dev": {}}
    for record in read_rows(records):
        for image in record["case"]["images"]:
            if (home := homes[record["id"]]) in found:
                found[home][image["sha256"]] = (folder / image["path"], image["cond_name"])
    return {home: list(images.values()) for home, images in found.items()}


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the folder of both models."""
    from finetrail.vision.encoder_training import make_eyes
    from finetrail.vision.image_encoder import save_eyes

    if step.settings["source"]["images"] is None:
        raise FinetrailError("no images folder is configured", where="source.images", hint="Name it")
    images = labelled_images(args.records, args.splits, Path(step.settings["source"]["images"]))
    folder = step.folder(args.manifest.parent, args.manifest, {"kind": "vision"})
    progress = step.progress("steps")

    def report(done: int, total: int) -> None:
        progress.total = total
        progress.advance(done - progress.done)

    eyes, facts = make_eyes(step.settings["vision"], images["train"], images["dev"], report)
    save_eyes(eyes, folder)
    step.facts["vision"] = facts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--records", "records.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--manifest", "manifest.json in the folder of the models")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
