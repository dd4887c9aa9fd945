"""Merge an adapter of QLoRA into the base that gives the better export, measured after the export's quantization."""

import argparse
import logging
import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from finetrail.errors import FinetrailError
from finetrail.export.gguf_answers import ask_file
from finetrail.export.gguf_writer import convert_to_gguf
from finetrail.export.output_differences import FLOOR, divergence
from finetrail.models.masks import encode_rows
from finetrail.models.model_folder import read_tokenizer
from finetrail.rows.artifacts import check_manifest, render_json, temporary_name
from finetrail.rows.records import Row, read_rows, sha256_file
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.training.merge_candidates import (
    CANDIDATES,
    Candidate,
    Target,
    ask_folder,
    choose_merge,
    merge_candidate,
    trained_targets,
)
from finetrail.training.settings.train_settings import train_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SETTINGS = ("train.models.{model}", "limits", "export.format", "export.quantization")
ENVIRONMENT = "export"

ROWS = 16
TOKENS = 32
DIGITS = 6

LOGGER = logging.getLogger("finetrail.choose_merge")


def rows_to_choose_by(evaluation: Path, train: Path) -> tuple[list[Row], bool]:
    """Read the first rows without an image: dev rows, or train rows of a recipe that holds none back.

    Returns:
        At most `ROWS` rows, and whether they are dev rows.

    Raises:
        FinetrailError: there is no such row.
    """
    is_dev = next(iter(read_rows(evaluation)), None) is not None
    file = evaluation if is_dev else train
    rows = list(islice((row for row in read_rows(file) if row.get("image") is None), ROWS))
    if not rows:
        raise FinetrailError(
            "there are no rows without an image to choose a merge by", where=str(file), hint="Use the method lora"
        )
    return rows, is_dev


def measure(targets: Sequence[Target], answers: Iterable["NDArray[np.float32]"]) -> tuple[list[float], float]:
    """Return the loss of each row and the mean divergence from the trained model, both in nats a token."""
    losses, divergences = [], []
    for target, found in zip(targets, answers, strict=True):
        chosen = target.ids[target.start :]
        losses.append(
            -sum(max(float(row[token]), FLOOR) for row, token in zip(found, chosen, strict=True)) / len(chosen)
        )
        divergences += [divergence(*pair) for pair in zip(target.log_probs, found, strict=True)]
    return losses, sum(divergences) / len(divergences)


def exported(
    step: Step, folder: Path, targets: Sequence[Target], threads: int
) -> tuple[tuple[list[float], float], dict[str, str]]:
    """Measure a merged folder as it will be exported, and say how that was."""
    export = step.settings.get("export") or {"format": "none"}
    if export["format"] != "gguf":
        return measure(targets, ask_folder(folder, targets)), {"runtime": "transformers", "quantization": "none"}
    file = folder.with_name(f"{folder.name}.gguf")
    try:
        convert_to_gguf(folder, file, quantization=export["quantization"].upper())
        found = measure(targets, ask_file(file, targets, threads=threads))
    finally:
        file.unlink(missing_ok=True)
    return found, {"runtime": "llama.cpp", "quantization": export["quantization"]}


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the better merged folder, and merge.json with the figures of both."""
    for manifest in (args.base, args.adapter):
        check_manifest(manifest.parent, manifest)
    ((_, tuning),) = step.settings["train"]["models"].items()
    settings = train_settings(tuning, step.settings["limits"])
    rows, is_dev = rows_to_choose_by(args.eval, args.train)
    tokenizer = read_tokenizer(args.adapter.parent)
    examples = encode_rows(rows, tokenizer, settings.limits).examples
    if not examples:
        raise FinetrailError(
            f"none of the first {len(rows)} rows can be shown to this model, so that no merge can be chosen by them",
            where=str(args.adapter.parent),
            hint="The training's report names the rows that were set aside; or use the method lora",
        )
    targets = trained_targets(args.base.parent, args.adapter.parent, settings, examples, TOKENS)
    losses: dict[Candidate, list[float]] = {}
    divergences: dict[Candidate, float] = {}
    scratch = temporary_name(args.manifest.parent)
    try:
        for name in CANDIDATES:
            folder = merge_candidate(name, args.base.parent, args.adapter.parent, settings, scratch / name)
            (losses[name], divergences[name]), how = exported(step, folder, targets, args.threads)
        # The loss on train rows would be taken for a score; how near a merge comes to the trained model is none.
        kept, decided_by = choose_merge(losses if is_dev else None, divergences)
        facts = {"kind": "merged", "base": sha256_file(args.base), "adapter": sha256_file(args.adapter), "into": kept}
        published = step.folder(args.manifest.parent, args.manifest, facts)
        published.rmdir()
        (scratch / kept).rename(published)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    scores = {name: {"dev_loss": _rounded(losses[name])} if is_dev else {} for name in CANDIDATES}
    trained = measure(targets, (target.log_probs for target in targets))[0]
    report = how | {
        "kept": kept,
        "decided_by": decided_by,
        "rows": len(targets),
        "tokens": sum(len(target.log_probs) for target in targets),
        **({"trained": {"dev_loss": _rounded(trained)}} if is_dev else {}),
        "candidates": {name: {**scores[name], "mean_kl": round(divergences[name], DIGITS)} for name in CANDIDATES},
    }
    LOGGER.info("merged into the %s base (%s): %s", kept, decided_by, report["candidates"])
    LOGGER.info("merged model saved to: %s", args.manifest.parent)
    step.file(args.report).write_text(render_json(report), encoding="utf-8")
    step.facts["merge"] = report


def _rounded(losses: Sequence[float]) -> float:
    return round(sum(losses) / len(losses), DIGITS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--base", "manifest.json of the base model")
    add_input(parser, "--adapter", "manifest.json of the adapter")
    add_input(parser, "--eval", "the fold's eval.jsonl, whose first rows are scored")
    add_input(parser, "--train", "the fold's train.jsonl, whose first rows are asked about where there are no dev rows")
    parser.add_argument("--threads", type=int, default=1, help="llama.cpp's CPU threads")
    add_output(parser, "--manifest", "manifest.json in final_merged_checkpoint/")
    add_output(parser, "--report", "merge.json")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
