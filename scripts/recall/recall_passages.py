"""Find the candidate passages of each question in the indexes of a corpus; lists are fused by reciprocal rank.

Each candidate says which of the row's queries found it, and at which rank.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.retrieval.backends import open_backend
from finetrail.retrieval.model_place import folders_of
from finetrail.retrieval.recall import recall
from finetrail.retrieval.search_index import in_batches
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("recall",)
ENVIRONMENT = "data"

BATCH = 10_000
"""Rows that are searched for together."""


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their candidates."""
    top_k = step.settings["recall"]["top_k"]
    folders = {kind: folders_of(getattr(args, kind)) for kind in ("words", "vectors", "encoder")}
    indexes = open_backend(step.settings, folders, args.threads)
    out = step.writer(args.out)
    without = 0
    for batch in in_batches(step.rows(args.rows, "questions"), BATCH):
        queries = [[query["text"] for query in row["queries"]] for row in batch]
        for row, candidates in zip(batch, recall(queries, indexes, top_k), strict=True):
            without += not candidates
            out.write(row | {"candidates": candidates})
    step.facts["questions_without_candidates"] = without
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "queries.jsonl")
    add_input(parser, "--words", "manifests of the shards of the index of words", nargs="*", required=False)
    add_input(parser, "--vectors", "manifests of the shards of the index of vectors", nargs="*", required=False)
    add_input(parser, "--encoder", "manifest of the bi-encoder, if it was fetched", nargs="*", required=False)
    parser.add_argument("--threads", type=int, default=1, help="threads that search")
    add_output(parser, "--out", "recall.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
