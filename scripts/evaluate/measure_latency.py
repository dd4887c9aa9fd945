"""Ask the trained pipeline test questions one by one, and measure each stage: retrieve, rerank, generate.

Times are this machine's, and differ from run to run; nothing else depends on them.
"""

import argparse
import platform
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

from finetrail.inference.answering.pipeline import STAGES, Pipeline, Places
from finetrail.retrieval.model_place import folders_of
from finetrail.rows.artifacts import check_manifest, render_json
from finetrail.rows.records import read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("recall", "encoder", "rerank", "folds", "limits", "predict", "evaluate.latency_questions")
ENVIRONMENT = "train"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)


def device() -> str:
    """Name what the models ran on."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the times."""
    settings: dict[str, Any] = step.settings
    for manifest in (args.base, args.adapter, args.reranker):
        check_manifest(manifest.parent, manifest)
    indexes = {kind: folders_of(getattr(args, kind)) for kind in ("words", "vectors", "encoder")}
    places = Places(args.passages, indexes, args.reranker.parent, args.fusion, args.base.parent, args.adapter.parent)
    count = settings["evaluate"]["latency_questions"]
    questions = [row["question"] for row in islice(read_rows(args.test), count + 1)]
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with Pipeline(places, settings) as pipeline:
        for number, question in enumerate(step.progress("questions", len(questions)).over(questions)):
            reply = pipeline.ask(question)
            for stage, value in reply.seconds.items():
                if number or len(questions) == 1:  # the first one warms up
                    seconds[stage].append(value)
    seconds["in all"] = [sum(parts) for parts in zip(*(seconds[stage] for stage in STAGES), strict=True)]
    times = {name: {"p50": quantile(values, 0.5), "p95": quantile(values, 0.95)} for name, values in seconds.items()}
    made = {"questions": len(seconds["in all"]), "device": device(), "seconds": times}
    step.file(args.out).write_text(render_json(made), encoding="utf-8")
    step.count(rows_in=len(questions), kept=len(questions))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--test", "the fold's test.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--words", "manifests of the shards of the index of words", nargs="+")
    add_input(parser, "--vectors", "manifests of the shards of the index of vectors", nargs="*", required=False)
    add_input(parser, "--encoder", "manifest of the bi-encoder, if it was fetched", nargs="*", required=False)
    add_input(parser, "--reranker", "manifest.json of the trained reranker")
    add_input(parser, "--fusion", "fusion.json")
    add_input(parser, "--base", "manifest.json of the base model")
    add_input(parser, "--adapter", "manifest.json of the adapter")
    add_output(parser, "--out", "the times")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
