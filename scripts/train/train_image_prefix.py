"""Tune a model that reads a picture by soft tokens before its prompt, on tasks that are drawn in phases.

Checkpoints live in a state directory that no failure deletes, as those of `train_adapter` do.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.rows.artifacts import read_json
from finetrail.rows.records import read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.training.prefix.drawing import draw_rows
from finetrail.training.prefix.prefix_card import card_text
from finetrail.training.prefix.prefix_parts import PREFIX
from finetrail.training.settings.train_settings import train_settings
from train.train_adapter import train_and_publish

SETTINGS = ("train.models.{model}", "limits", "source.images")
ENVIRONMENT = "train"


def work(step: Step, args: argparse.Namespace) -> None:
    """Train, and publish adapter, prefix modules, mapping of classes and the training log."""
    (tuning,) = step.settings["train"]["models"].values()
    settings = train_settings(tuning, step.settings["limits"])
    assert settings.prefix is not None
    _, counts = draw_rows([row["kind"] for row in read_rows(args.train)], settings.prefix.phases, settings.seed)
    step.facts["drawn"] = [dict(sorted(phase.items())) for phase in counts]
    folder = train_and_publish(step, args, args.vision, PREFIX)
    title = f"{step.recipe}: {args.manifest.parents[2].name}, {args.manifest.parents[1].name}"
    card = card_text(title, tuning, counts, read_json(args.base))
    (folder / "README.md").write_text(card, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--train", "the fold's train.jsonl")
    add_input(parser, "--eval", "the fold's eval.jsonl")
    add_input(parser, "--base", "manifest.json of the base model")
    add_input(parser, "--vision", "manifest.json of encoder and classifier")
    parser.add_argument("--state", type=Path, required=True, help="folder of the state directories")
    parser.set_defaults(shuffle_targets=False)
    add_output(parser, "--manifest", "manifest.json in final_adapter/")
    add_output(parser, "--training-log", "training_log.jsonl")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
