"""Count how many tokens the targets of every task have, and how many of them training would cut.

A cut target has no end token, so that nobody learns to stop there. Also counted: prompts that lost pieces to fit.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from finetrail.metrics.quantiles import quantiles
from finetrail.models.control_tokens import SetAside
from finetrail.models.model_folder import read_tokenizer
from finetrail.report.plots.series_picture import draw_distributions
from finetrail.rows.artifacts import read_json, render_json
from finetrail.step.step import LOGGER, Step, add_input, add_output, run_step, step_parser
from finetrail.training.prefix.prefix_rows import CLASS_TOKENS, TaskExample, encode_task
from finetrail.training.settings.train_settings import train_settings
from finetrail.vision.image_encoder import CLASSES

SETTINGS = ("train.models.{model}", "limits", "source.images")
ENVIRONMENT = "texts"


def describe(examples: Sequence[TaskExample], max_length: int) -> dict[str, Any]:
    """Return the counts of one task."""
    tokens = [example.whole_target for example in examples]
    return {
        "rows": len(examples),
        "target_tokens": quantiles(tokens),
        "truncated": sum(example.truncated for example in examples),
        "prompts_shortened": sum(example.dropped_passages > 0 for example in examples),
        "row_tokens_most": max(len(example.input_ids) for example in examples),
        "max_length": max_length,
    }


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the counts and the picture."""
    (tuning,) = step.settings["train"]["models"].values()
    settings = train_settings(tuning, step.settings["limits"])
    assert settings.prefix is not None
    tokenizer = read_tokenizer(args.base.parent)
    ids = read_json(args.vision.parent / CLASSES)
    tasks: dict[str, list[TaskExample]] = {}
    rows, aside = 0, SetAside()
    for row in step.rows(args.train):
        rows += 1
        with aside.unfit(str(row["id"])):
            example = encode_task(
                row,
                tokenizer,
                max_length=settings.limits.max_length,
                prefix_tokens=settings.prefix.image_tokens + CLASS_TOKENS,
                class_ids=ids,
                images=step.settings["source"]["images"],
            )
            tasks.setdefault(example.task, []).append(example)
    aside.check(rows)
    report = {task: describe(examples, settings.limits.max_length) for task, examples in sorted(tasks.items())}
    for task, counts in report.items():
        LOGGER.info(
            "%s: %d rows, %d targets cut, %s tokens",
            task,
            *list(counts.values())[:1],
            counts["truncated"],
            counts["target_tokens"],
        )
    step.file(args.report).write_text(render_json(report), encoding="utf-8")
    series = {task: [example.whole_target for example in examples] for task, examples in sorted(tasks.items())}
    title = f"{step.recipe}: tokens of the targets"
    draw_distributions(series, step.file(args.picture), title=title, measure="tokens of a target", counted="rows")
    unfit = Counter(aside.reasons.values())
    step.count(rows_in=rows, kept=rows - unfit.total(), dropped=unfit)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--train", "the fold's train.jsonl")
    add_input(parser, "--base", "manifest.json of the base model")
    add_input(parser, "--vision", "manifest.json of encoder and classifier")
    add_output(parser, "--report", "counts of every task")
    add_output(parser, "--picture", "their distribution, as SVG")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
