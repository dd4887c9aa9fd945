"""Find the candidate passages of each question with the benchmark's own search (package cragmm-search-pipeline)."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.web.benchmark_search import open_pipeline, recall_row

SETTINGS = ("recall",)
ENVIRONMENT = "dense"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their candidates, and each passage once."""
    settings = step.settings["recall"]
    pipeline = open_pipeline(settings["cragmm"])
    out, passages = step.writer(args.out), step.writer(args.passages)
    known: set[str] = set()
    without = 0
    for row in step.rows(args.rows, "questions"):
        recalled, found = recall_row(row, pipeline, settings["top_k"])
        without += not found
        for passage in found:
            if passage["id"] not in known:
                known.add(passage["id"])
                passages.write(passage)
        out.write(recalled)
    step.facts["questions_without_candidates"] = without
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "queries.jsonl")
    add_output(parser, "--out", "recall.jsonl")
    add_output(parser, "--passages", "passages.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
