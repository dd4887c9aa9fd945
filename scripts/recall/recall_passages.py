"""Find the candidate passages of each question with BM25; several queries are fused by reciprocal rank."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.records import read_rows, round_score
from finetrail.retrieval import Hit
from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.rerank import candidate_rows
from finetrail.step import Step, add_input, add_output, run_step, step_parser

# The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).
FUSION_K = 60


def fuse(lists: Sequence[Sequence[Hit]], most: int) -> list[Hit]:
    """Fuse ranked lists by reciprocal rank; one list keeps its own scores. Ties go by passage id."""
    if len(lists) == 1:
        return list(lists[0][:most])
    scores: dict[str, float] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            scores[hit.passage_id] = scores.get(hit.passage_id, 0.0) + 1 / (FUSION_K + rank)
    fused = [Hit(name, round_score(score)) for name, score in scores.items()]
    return sorted(fused, key=lambda hit: (-hit.score, hit.passage_id))[:most]


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
