"""Keep the best chunks of each question's candidate passages: by one TF-IDF model over the whole corpus, or by a
cross-encoder that reads question and chunk together.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.retrieval.rankers import open_ranker, search_text
from finetrail.retrieval.rerank import chunk_rows
from finetrail.retrieval.search_index import in_batches
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("rerank",)
ENVIRONMENT = "data"

BATCH = 1000


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their best chunks."""
    settings = step.settings["rerank"]
    out = step.writer(args.out)
    with open_ranker(settings, args.passages) as (ranker, model):
        if model is not None:
            step.facts["model"] = model
        for batch in in_batches(step.rows(args.rows, "questions"), BATCH):
            candidates = [
                [candidate["passage_id"] for candidate in row["candidates"][: settings["keep_passages"]]]
                for row in batch
            ]
            queries = [search_text([query["text"] for query in row["queries"]]) for row in batch]
            for row, chunks in zip(batch, ranker.rank(queries, candidates, keep=settings["keep_chunks"]), strict=True):
                out.write(row | {"chunks": chunk_rows(chunks)})
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "recall.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "reranked.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
