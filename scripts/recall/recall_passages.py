"""Find the candidate passages of each question with BM25; several queries are fused by reciprocal rank."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.records import read_rows
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.fusion import fuse
from finetrail.retrieval.rerank import candidate_rows
from finetrail.step import Step, add_input, add_output, run_step, step_parser


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their candidates."""
    settings = step.settings["recall"]
    index = BM25Index.build(read_rows(args.passages), k1=settings["k1"], b=settings["b"])
    out = step.writer(args.out)
    found = 0
    for row in step.rows(args.rows, "questions"):
        lists = list(index.search([query["text"] for query in row["queries"]], settings["top_k"]))
        hits = fuse(lists, settings["top_k"])
        found += bool(hits)
        source = index.source if len(lists) == 1 else f"{index.source}+rrf"
        out.write(row | {"candidates": candidate_rows(hits, source)})
    step.facts["questions_without_candidates"] = out.count - found
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "queries.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "recall.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
