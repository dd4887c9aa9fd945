"""Train a tokenizer and a tiny model on a fold's own text: a base for tutorials and tests, with nothing to download.

It learns from the train examples only. A base that was made from the same text and settings before is taken from the
cache, so that variants of a recipe share it.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from finetrail.models.base_tokenizer import prepare_tokenizer
from finetrail.rows.artifacts import check_manifest, publish_folder, write_manifest
from finetrail.rows.records import Row, canonical_json, read_rows, sha256_file, sha256_text
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.tiny.tiny_base import build_tiny_base
from finetrail.tiny.tiny_settings import TinyBaseSettings

SETTINGS = ("base_model", "folds.system_prompt")
ENVIRONMENT = "train"

SEED = 42


def sizes(choice: Mapping[str, Any]) -> TinyBaseSettings:
    """Return the sizes and the pre-training that the recipe chooses."""
    renamed = {"pretrain_steps": "steps", "pretrain_learning_rate": "learning_rate"}
    given = {renamed.get(name, name): value for name, value in choice.items()}
    known = {field.name for field in fields(TinyBaseSettings)}
    return TinyBaseSettings(**{name: value for name, value in given.items() if name in known})


def train_texts(rows: Iterable[Row]) -> list[str]:
    """Return every distinct text of the train examples: questions, answers, and the evidence that they show."""
    texts: dict[str, None] = {}
    for row in rows:
        shown = [text for item in row["evidence"] for text in (item["title"], item["text"])]
        texts |= dict.fromkeys([row["question"], row["answer"], *shown])
    return list(texts)


def cached(step: Step, args: argparse.Namespace) -> Path:
    """Return the cache folder of this text, these settings and this code."""
    parts = [sha256_file(args.train), step.settings, args.code, args.environment]
    results: Path = args.manifest.parents[3]
    return results / "tiny_bases" / sha256_text(canonical_json(parts))[:16]


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the base model's folder."""
    choice = step.settings["base_model"]
    settings = sizes(choice)
    cache = cached(step, args)
    folder = step.folder(args.manifest.parent, args.manifest, {"kind": "base", "tiny": choice["tiny"]})
    if (cache / "manifest.json").exists():
        check_manifest(cache, cache / "manifest.json")
        step.facts["taken_from_cache"] = cache.name
    else:
        made = folder.with_name(f"{folder.name}.made")
        made.mkdir()
        progress = step.progress("steps", settings.steps)
        try:
            step.facts["pretraining"] = build_tiny_base(
                choice["tiny"],
                train_texts(read_rows(args.train)),
                settings=settings,
                system=step.settings["folds"]["system_prompt"],
                seed=SEED,
                out_dir=made,
                progress=lambda done, total: progress.advance(done - progress.done),
            )
            prepare_tokenizer(
                made,
                template=choice["template"],
                family=choice["family"],
                pad_token=choice["pad_token"],
                new_tokens=choice["new_tokens"],
            )
            publish_folder(made, cache)
            write_manifest(cache, cache / "manifest.json", {})
        finally:
            shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(cache, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--train", "the fold's train.jsonl")
    add_output(parser, "--manifest", "manifest.json in the folder of the base model")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
