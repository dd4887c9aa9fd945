"""Find the candidate passages of each question in the indexes of a corpus; lists are fused by reciprocal rank.

Each candidate says which of the row's queries found it, and at which rank.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from finetrail.records import Row
from finetrail.retrieval import Hit, SearchIndex, in_batches
from finetrail.retrieval.backends import folders_of, open_backend
from finetrail.retrieval.fusion import found_by, fuse
from finetrail.retrieval.rerank import candidate_rows
from finetrail.step import Step, add_input, add_output, run_step, step_parser

BATCH = 10_000
"""Rows that are searched for together."""


def recall(rows: Sequence[Row], indexes: Sequence[SearchIndex], top_k: int) -> Iterator[Row]:
    """Yield the rows with their candidates."""
    texts = [query["text"] for row in rows for query in row["queries"]]
    found = [list(index.search(texts, top_k)) for index in indexes]
    start = 0
    for row in rows:
        end = start + len(row["queries"])
        yield row | {"candidates": candidates([lists[start:end] for lists in found], indexes, top_k)}
        start = end


def candidates(found: Sequence[Sequence[Sequence[Hit]]], indexes: Sequence[SearchIndex], top_k: int) -> list[Row]:
    """Fuse the lists of all queries and indexes of one row."""
    lists = [hits for of_index in found for hits in of_index]
    origins: list[Row] = [
        {"query": place} | ({"source": index.source} if len(indexes) > 1 else {})
        for index, of_index in zip(indexes, found, strict=True)
        for place in range(len(of_index))
    ]
    source = "+".join([*(index.source for index in indexes), *(["rrf"] if len(lists) > 1 else [])])
    return candidate_rows(fuse(lists, top_k), source, found_by(lists, origins))


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their candidates."""
    top_k = step.settings["recall"]["top_k"]
    folders = {kind: folders_of(getattr(args, kind)) for kind in ("words", "vectors", "encoder")}
    indexes = open_backend(step.settings, folders, args.threads)
    out = step.writer(args.out)
    without = 0
    for batch in in_batches(step.rows(args.rows, "questions"), BATCH):
        for row in recall(batch, indexes, top_k):
            without += not row["candidates"]
            out.write(row)
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
