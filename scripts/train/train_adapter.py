"""Tune a model on one fold: an adapter (LoRA, QLoRA) or all its weights.

Checkpoints live in a state directory that no failure deletes: a retry continues from the newest complete one.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.config.current import operation_key
from finetrail.models.base_model import BaseModel
from finetrail.rows.artifacts import check_manifest, read_json
from finetrail.rows.records import canonical_json, read_rows, sha256_file, sha256_text
from finetrail.step.journal import shared_run_folder
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.training.checkpoints.publish import least_peft
from finetrail.training.settings.hardware import use_gpus
from finetrail.training.settings.train_settings import Saving, Tracking, train_settings
from finetrail.training.sft import CHAT, refuse_hopeless, train_adapter
from finetrail.training.shuffle import shuffle_targets
from finetrail.training.trainer_parts import TrainerParts

SETTINGS = ("train.models.{model}", "limits", "source.images")
ENVIRONMENT = "train"
SPREADS = True

LOGGER = logging.getLogger("finetrail.train_adapter")


def state_folder(step: Step, args: argparse.Namespace) -> Path:
    """Name the state directory by data and settings; code that changed is the state's own care."""
    vision = [args.vision] if "vision" in args else []
    files = [sha256_file(path) for path in (args.train, args.eval, args.base, *vision)]
    parts = [*files, step.settings, args.shuffle_targets]
    folder: Path = args.state / sha256_text(canonical_json(parts))[:16]
    return folder


def saving_of(step: Step, args: argparse.Namespace) -> Saving:
    """Read when to save and to stop from the run's operation keys."""
    keys: Mapping[str, Any] = operation_key(step.recipe, "train")
    return Saving(
        strategy=keys["save_strategy"],
        save_steps=keys["save_steps"],
        keep=keys["keep_checkpoints"],
        on_code_change=keys["on_code_change"],
        code=f"{args.code}.{args.environment}",
        max_hours=keys["max_hours"],
        save_before_minutes=keys["save_before_minutes"],
        tracking=tracking_of(step, args, keys["wandb"]),
        **samples_of(step, keys),
    )


def samples_of(step: Step, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Read how often samples of what the model writes are logged, where the recipe says so."""
    (name,) = step.settings["train"]["models"]
    models = keys.get("models") or {}
    prefix = (models.get(name) or {}).get("prefix") or {}
    return {key: prefix[key] for key in ("sample_steps", "sample_tokens", "workers") if key in prefix}


def tracking_of(step: Step, args: argparse.Namespace, keys: Mapping[str, Any] | None) -> Tracking | None:
    """Name the run by recipe, model and fold, whose folders the outputs stand in."""
    if keys is None:
        return None
    base = read_json(args.base)
    named = base.get("hub") or base.get("path") or f"tiny {base.get('tiny', 'model')}"
    model, fold = args.manifest.parts[-4:-2]
    return Tracking(name=f"{step.recipe}.{model}.{fold}", base_model=named, **keys)


def log_origins(step: Step, model: str) -> dict[str, str]:
    """Log every hyperparameter with where it comes from, and return the origins by key."""
    run = shared_run_folder()
    known = read_json(run / "origins.json").get(step.recipe, {}) if run else {}
    values = {f"train.models.{model}": step.settings["train"]["models"][model], "limits": step.settings["limits"]}
    origins = {key: known.get(key, "given by hand") for key in _leaves(values)}
    for key, value in _leaves(values).items():
        LOGGER.info("%s = %s (%s)", key, value, origins[key])
    return origins


def _leaves(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _leaves(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def work(step: Step, args: argparse.Namespace) -> None:
    """Train, and publish the model and the training log."""
    train_and_publish(step, args)


def train_and_publish(
    step: Step, args: argparse.Namespace, vision: Path | None = None, parts: TrainerParts = CHAT
) -> Path:
    """Train, and publish the model and the training log.

    Returns:
        the folder of the model, which is published when the step ends.

    Args:
        step: with the settings of one model.
        args: ``train``, ``eval``, ``base``, ``state``, ``manifest``, ``training_log``, ``shuffle_targets``.
        vision: manifest of encoder and classifier, where the model reads pictures by a prefix.
        parts: how rows are encoded, and which trainer takes them.
    """
    ((name, tuning),) = step.settings["train"]["models"].items()
    settings = train_settings(tuning, step.settings["limits"])
    use_gpus(operation_key(step.recipe, "train.gpus"))
    step.facts["origins"] = log_origins(step, name)
    state_dir = state_folder(step, args)
    refuse_hopeless(state_dir)
    base = BaseModel.verified(args.base)
    if vision is not None:
        check_manifest(vision.parent, vision)
    train = list(read_rows(args.train))
    if args.shuffle_targets:
        train = shuffle_targets(train, settings.seed)
    facts = {
        "kind": "adapter" if settings.adapter else "model",
        "method": settings.method,
        "base": sha256_file(args.base),
        "shuffled_targets": args.shuffle_targets,
    }
    folder = step.folder(args.manifest.parent, args.manifest, facts)
    scratch = folder.with_name(f"{folder.name}.training")
    progress = step.progress("steps")

    def report(done: int, total: int) -> None:
        progress.total = total
        progress.advance(done - progress.done)

    try:
        outcome = train_adapter(
            base,
            train,
            list(read_rows(args.eval)),
            settings,
            state_dir=state_dir,
            out_dir=scratch,
            images=step.settings["source"]["images"],
            saving=saving_of(step, args),
            progress=report,
            vision_dir=vision.parent if vision else None,
            parts=parts,
        )
        folder.rmdir()
        (scratch / outcome.folder).rename(folder)
        (scratch / "training_log.jsonl").rename(step.file(args.training_log))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if settings.adapter:
        step.manifest_facts(args.manifest.parent, {"least_peft": least_peft(folder)})
    step.facts["training"] = vars(outcome)
    LOGGER.info("%s saved to: %s", "adapter" if settings.adapter else "model", args.manifest.parent)
    return folder


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
    add_output(parser, "--manifest", "manifest.json in final_adapter/ or final_checkpoint/")
    add_output(parser, "--training-log", "training_log.jsonl")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
