"""Fine-tune an adapter on one fold.

Checkpoints live in a state directory that no failure deletes: a retry continues from the newest complete one.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.artifacts import check_manifest
from finetrail.config.current import operation_key
from finetrail.records import canonical_json, read_rows, sha256_file, sha256_text
from finetrail.step import Step, add_input, add_output, run_step, step_parser
from finetrail.training.settings import Limits, TrainSettings
from finetrail.training.sft import ADAPTER, train_adapter
from finetrail.training.shuffle import shuffle_targets


def tuning_settings(tuning: Mapping[str, Any], limits: Mapping[str, Any], save_steps: int) -> TrainSettings:
    """Return the trainer's settings for what the recipe says of a model."""
    chosen = dict(tuning)
    targets = chosen.pop("target_modules")
    epochs = chosen.pop("epochs")
    return TrainSettings(
        mode=chosen.pop("method"),
        warmup_share=chosen.pop("warmup_ratio"),
        target_modules=tuple(targets) if targets else "all-linear",
        modules_to_save=tuple(chosen.pop("modules_to_save")),
        epochs=epochs or 1.0,
        limits=Limits(**limits),
        save_steps=save_steps,
        **chosen,
    )


def state_folder(step: Step, args: argparse.Namespace) -> Path:
    """Name the state directory by what decides weights and log, the code too: no checkpoint passes for another's."""
    files = [sha256_file(path) for path in (args.train, args.eval, args.base)]
    parts = [*files, step.settings, args.shuffle_targets, args.code, args.environment]
    folder: Path = args.state / sha256_text(canonical_json(parts))[:16]
    return folder


def work(step: Step, args: argparse.Namespace) -> None:
    """Train, and publish the adapter and the training log."""
    (tuning,) = step.settings["train"]["models"].values()
    settings = tuning_settings(tuning, step.settings["limits"], operation_key(step.recipe, "train.save_steps"))
    check_manifest(args.base.parent, args.base)
    train = list(read_rows(args.train))
    if args.shuffle_targets:
        train = shuffle_targets(train, settings.seed)
    facts = {"kind": "adapter", "base": sha256_file(args.base), "shuffled_targets": args.shuffle_targets}
    folder = step.folder(args.manifest.parent, args.manifest, facts)
    scratch = folder.with_name(f"{folder.name}.training")
    progress = step.progress("steps")

    def report(done: int, total: int) -> None:
        progress.total = total
        progress.advance(done - progress.done)

    try:
        outcome = train_adapter(
            args.base.parent,
            train,
            list(read_rows(args.eval)),
            settings,
            state_dir=state_folder(step, args),
            out_dir=scratch,
            images=step.settings["source"]["images"],
            progress=report,
        )
        folder.rmdir()
        (scratch / ADAPTER).rename(folder)
        (scratch / "training_log.jsonl").rename(step.file(args.training_log))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    step.facts["training"] = vars(outcome)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--train", "the fold's train.jsonl")
    add_input(parser, "--eval", "the fold's eval.jsonl")
    add_input(parser, "--base", "manifest.json of the base model")
    parser.add_argument("--state", type=Path, required=True, help="folder of the state directories")
    parser.add_argument(
        "--shuffle-targets",
        action="store_true",
        help="control: train on answers of other sessions' questions",
    )
    add_output(parser, "--manifest", "manifest.json in final_adapter/")
    add_output(parser, "--training-log", "training_log.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
