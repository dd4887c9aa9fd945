"""Keep the best chunks of each question's candidate passages: by one TF-IDF model over the whole corpus, or by a
cross-encoder that reads question and chunk together.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence

from finetrail.records import Row, read_rows
from finetrail.retrieval import in_batches
from finetrail.retrieval.backends import scorer_of
from finetrail.retrieval.cross_ranker import CrossRanker
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.rerank import ChunkRanker, Ranker, chunk_rows
from finetrail.step import Step, add_input, add_output, run_step, step_parser

BATCH = 1000


def search_text(row: Row) -> str:
    """Return what the chunks are compared with: all queries of the question."""
    return " ".join(query["text"] for query in row["queries"])


@contextlib.contextmanager
def open_ranker(step: Step, args: argparse.Namespace) -> Iterator[Ranker]:
    """Open what the recipe ranks by."""
    settings = step.settings["rerank"]
    if settings["method"] == "tfidf":
        yield ChunkRanker(read_rows(args.passages), max_words=settings["chunk_words"])
        return
    scorer = scorer_of(settings["model"])
    step.facts["model"] = scorer.place.fingerprint
    with PassageFile(args.passages) as passages:
        yield CrossRanker(passages, scorer, max_words=settings["chunk_words"])


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their best chunks."""
    settings = step.settings["rerank"]
    out = step.writer(args.out)
    with open_ranker(step, args) as ranker:
        for batch in in_batches(step.rows(args.rows, "questions"), BATCH):
            candidates = [
                [candidate["passage_id"] for candidate in row["candidates"][: settings["keep_passages"]]]
                for row in batch
            ]
            queries = [search_text(row) for row in batch]
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
