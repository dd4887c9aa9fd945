"""Rank the candidates by cross-encoder, lexical and bridge features together, and keep the best.

The weights are learned listwise from train questions. A train question is ranked by weights, and by cross-encoder
scores, that did not learn from it.
"""

import argparse
import heapq
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetrail.retrieval.bm25 import BM25Index
from finetrail.retrieval.bridges import FEATURES, features, fit_listwise, ranks, with_scores
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.questions import Pages, question_of
from finetrail.retrieval.rerank import Chunk, chunk_rows
from finetrail.retrieval.reranker_folder import WHOLE, fold_of, model_for, without
from finetrail.retrieval.search_index import in_batches
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, read_rows, read_table, sha256_text, zip_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

if TYPE_CHECKING:
    from finetrail.retrieval.bridges import Floats

SETTINGS = ("rerank", "recall.k1", "recall.b", "recall.top_k")
ENVIRONMENT = "data"

NAMES = (*FEATURES, "BM25 score", "cross-encoder score")
MOST_LEARNED = 2000
"""Train questions that the weights are learned from; they are few weights."""
BATCH = 1000
"""Questions whose candidates are weighed by BM25 in one walk through its index."""

Pair = tuple[Row, Row]
"""A row and its candidates' scores."""


class Tables:
    """Makes the features of questions' candidates."""

    def __init__(self, words: Sequence[Path], settings: Mapping[str, Any], texts: PassageFile) -> None:
        self._texts = texts
        self._index = BM25Index.open(words, k1=settings["k1"], b=settings["b"])

    def by_words(self, rows: Sequence[Row], most: int) -> Iterator[list[str]]:
        """Yield what BM25 alone would have found for each row, best first."""
        for hits in self._index.search([row["question"] for row in rows], most):
            yield [hit.passage_id for hit in hits]

    def of(self, pairs: Sequence[Pair]) -> Iterator[tuple["Floats", list[float]]]:
        """Yield each row's features, and the BM25 scores that are one of them."""
        asked = [(row["question"], [candidate["passage_id"] for candidate in row["candidates"]]) for row, _ in pairs]
        for (row, scored), (question, names), bm25 in zip(pairs, asked, self._index.score(asked), strict=True):
            passages = [self._texts[name] for name in names]
            table = features(question, passages, [candidate["score"] for candidate in row["candidates"]])
            yield with_scores(table, bm25, scored["scores"]), bm25


def learned_from(rows: Iterator[Pair], splits: Mapping[str, Row]) -> list[Pair]:
    """Return the train rows that the weights are learned from, chosen by a hash where there are many."""
    train = (pair for pair in rows if splits[pair[0]["id"]]["split"] == "train" and pair[0]["candidates"])
    return heapq.nsmallest(MOST_LEARNED, train, key=lambda pair: sha256_text(pair[0]["id"]))


def learn(
    args: argparse.Namespace,
    choice: Mapping[str, Any],
    splits: Mapping[str, Row],
    tables: Tables,
    texts: PassageFile,
) -> dict[str, list[float]]:
    """Learn the weights, once from all and once without each fold of the train questions."""
    pages = Pages(read_rows(args.passages))
    made: list[tuple[int, Any, list[bool]]] = []
    chosen = learned_from(zip_rows(args.rows, args.scores), splits)
    for (row, _), (table, _) in zip(chosen, tables.of(chosen), strict=True):
        gold = {passage["id"] for passage in question_of(row, pages, texts).gold}
        fold = fold_of(splits[row["id"]]["group"], choice["folds"], choice["seed"])
        made.append((fold, table, [candidate["passage_id"] in gold for candidate in row["candidates"]]))
    weights = {WHOLE: fit_listwise([table for _, table, _ in made], [gold for _, _, gold in made])}
    for fold in range(choice["folds"]):
        others = [(table, gold) for place, table, gold in made if place != fold]
        weights[without(fold)] = fit_listwise([table for table, _ in others], [gold for _, gold in others])
    return weights


def ranked(row: Row, scored: Row, table: "Floats", bm25: Sequence[float], weights: Sequence[float]) -> list[Row]:
    """Return the candidates with what every ranking says of them, in the order of the first retrieval."""
    added = zip(row["candidates"], bm25, scored["scores"], ranks(table, weights), strict=True)
    rows = [{**c, "bm25": b, "cross_encoder": s, "fused": f} for c, b, s, f in added]
    if "before" in scored:
        rows = [{**c, "untrained": score} for c, score in zip(rows, scored["before"], strict=True)]
    return rows


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their best passages, and the weights."""
    choice, keep = step.settings["rerank"]["train"], step.settings["rerank"]["keep_chunks"]
    splits = read_table(args.splits)
    out = step.writer(args.out)
    with PassageFile(args.passages) as texts:
        tables = Tables([path.parent for path in args.words], step.settings["recall"], texts)
        weights = learn(args, choice, splits, tables, texts)
        for batch in in_batches(step.progress("questions", args.rows).over(zip_rows(args.rows, args.scores)), BATCH):
            held_out = [row for row, scored in batch if "before" in scored]
            by_words = tables.by_words(held_out, step.settings["recall"]["top_k"])
            for (row, scored), (table, bm25) in zip(batch, tables.of(batch), strict=True):
                home = splits[row["id"]]
                name = model_for(home["split"], home["group"], choice["folds"], choice["seed"])
                candidates = ranked(row, scored, table, bm25, weights[name])
                best = sorted(candidates, key=lambda c: (-c["fused"], c["passage_id"]))[:keep]
                kept = [Chunk(c["passage_id"], 0, len(texts[c["passage_id"]]["text"]), c["fused"]) for c in best]
                found: Row = {"candidates": candidates, "chunks": chunk_rows(kept)}
                if "before" in scored:  # a report compares the retriever with BM25
                    found["by_words"] = next(by_words)
                out.write(row | found)
    named = {name: dict(zip(NAMES, values, strict=True)) for name, values in weights.items()}
    step.file(args.weights).write_text(render_json(named), encoding="utf-8")
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "recall.jsonl")
    add_input(parser, "--scores", "pair_scores.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--words", "manifests of the shards of the index of words", nargs="+")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "reranked.jsonl")
    add_output(parser, "--weights", "fusion.json: the weights of the features")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
