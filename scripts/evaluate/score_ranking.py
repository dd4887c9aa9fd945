"""Score the rankings of the test questions' passages: first retrieval, BM25, their fusion, cross-encoder, all fused.

Two pools: the question's own pages (the official distractor setting, ten of them), and all candidates that were
retrieved from the corpus. A gold passage that was not retrieved counts as missed.
"""

import argparse
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.metrics.compare import Measurement, compare, table_lines
from finetrail.metrics.ranking import ndcg, recall
from finetrail.report.plots.recall_picture import draw_recall
from finetrail.retrieval.fusion import fuse
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.questions import Pages, question_of
from finetrail.retrieval.search_index import Hit
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, read_rows, read_table
from finetrail.step.step import LOGGER, Step, add_input, add_output, run_step, step_parser

SETTINGS = ("recall", "evaluate.resamples", "evaluate.seed")
ENVIRONMENT = "plots"

DEPTHS = (1, 2, 5, 10, 20, 50, 100, 200)
CUT = 10
FUSED, BM25, HYBRID = "fused", "bm25", "hybrid"
RESTS_ON = "gold supporting facts"
OWN, ALL = "own pages (10 candidates)", "retrieved from the corpus"


def order_by(candidates: Iterable[Row], score: Callable[[Row], float]) -> list[str]:
    """Return the passages' ids, best first, ties by id."""
    ranked = sorted(candidates, key=lambda c: (-score(c), str(c["passage_id"])))
    return [candidate["passage_id"] for candidate in ranked]


def rankings(candidates: Sequence[Row], by_words: Sequence[str], first: str) -> dict[str, list[str]]:
    """Return the passages' ids in the order of each ranking.

    Args:
        candidates: with the scores of all rankings.
        by_words: what BM25 alone finds.
        first: name of the first retrieval.
    """
    orders = {first: order_by(candidates, lambda c: -float(c["rank"]))}
    orders[BM25] = list(by_words)
    lists = [[Hit(name, 0.0) for name in order] for order in orders.values()]
    if len(lists) > 1 and first != HYBRID:  # which is such a fusion itself
        orders["rrf"] = [hit.passage_id for hit in fuse(lists, len(candidates))]
    orders["cross_encoder_untrained"] = order_by(candidates, lambda c: float(c["untrained"]))
    orders["cross_encoder"] = order_by(candidates, lambda c: float(c["cross_encoder"]))
    orders[FUSED] = order_by(candidates, lambda c: float(c["fused"]))
    return orders


class Question:
    """A test question's rankings in both pools, and what is gold."""

    def __init__(self, row: Row, group: str, pages: Pages, texts: PassageFile, first: str) -> None:
        found = question_of(row, pages, texts)
        self.group = group
        self.gold = {passage["id"] for passage in found.gold}
        self.titles = {title for title, _ in found.facts}
        named = [*(candidate["passage_id"] for candidate in row["candidates"]), *row["by_words"]]
        self.title_of = {name: texts[name]["title"] for name in named}
        own = set(pages.passages(row["hops"]["context"], ()))
        inside = [candidate for candidate in row["candidates"] if candidate["passage_id"] in own]
        words = [name for name in row["by_words"] if name in own]
        ranked = rankings(inside, words, first)
        self.orders = {
            OWN: {name: [*order, *sorted(own - set(order))] for name, order in ranked.items()},
            ALL: rankings(row["candidates"], row["by_words"], first),
        }

    def titles_in(self, order: Sequence[str]) -> list[str]:
        """Return the distinct titles of a ranking, in its order."""
        return list(dict.fromkeys(self.title_of[name] for name in order if name in self.title_of))


Score = Callable[[Sequence[str], Collection[str], int], float]


def measured(questions: Mapping[str, Question], pool: str, name: str, score: Score) -> dict[str, Measurement]:
    """Return a score of a ranking's first passages in a pool, by question."""
    return {
        row_id: Measurement(one.group, score(one.orders[pool][name], one.gold, CUT))
        for row_id, one in questions.items()
    }


def compared(
    questions: Mapping[str, Question], names: Sequence[str], first: str, drawn: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare the fused ranking with all others by nDCG, and the first retrieval with BM25 by recall.

    Args:
        questions: with their rankings.
        names: of the rankings.
        first: of the first retrieval.
        drawn: how intervals are drawn.
    """
    searching = [name for name in (first, BM25, "rrf") if name in names]
    asked = [("ndcg_own", f"nDCG@{CUT}, {OWN}", ndcg, OWN, [FUSED, *(n for n in names if n != FUSED)])]
    asked += [("ndcg_retrieved", f"nDCG@{CUT}, {ALL}", ndcg, ALL, asked[0][-1])]
    if first != BM25:
        asked += [("recall_retrieved", f"recall@{CUT}, {ALL}", recall, ALL, searching)]
    made = {}
    for key, metric, score, pool, models in asked:
        values = {name: measured(questions, pool, name, score) for name in models}
        made[key] = compare(metric, models[0], values, higher_is_better=True, **drawn) | {"rests_on": RESTS_ON}
        LOGGER.info("%s", "\n".join(["", *table_lines(made[key])]))
    return made


def mean(values: Iterable[float]) -> float:
    """Return the mean, rounded."""
    listed = list(values)
    return round(sum(listed) / len(listed), 6)


def curves(questions: Mapping[str, Question], pool: str, names: Sequence[str], depths: Sequence[int]) -> dict[str, Any]:
    """Return each ranking's recall of gold passages, and of the titles of supporting facts, at several depths."""
    made: dict[str, Any] = {}
    for name in names:
        lists = [(one, one.orders[pool][name]) for one in questions.values()]
        made[name] = {
            "ndcg@10": mean(ndcg(order, one.gold, CUT) for one, order in lists),
            "recall": {str(k): mean(recall(order, one.gold, k) for one, order in lists) for k in depths},
            "supporting_title_recall": {
                str(k): mean(recall(one.titles_in(order), one.titles, k) for one, order in lists) for k in depths
            },
        }
    return made


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the scores and the curve."""
    splits = read_table(args.splits)
    drawn = {key: step.settings["evaluate"][key] for key in ("resamples", "seed")}
    first = step.settings["recall"]["backend"]
    pages = Pages(read_rows(args.passages))
    questions: dict[str, Question] = {}
    without = 0
    with PassageFile(args.passages) as texts:
        for row in step.rows(args.rows, "questions"):
            if splits[row["id"]]["split"] != "test":
                continue
            one = Question(row, splits[row["id"]]["group"], pages, texts, first)
            without += not one.gold
            if one.gold:
                questions[row["id"]] = one
    if not questions:
        raise FinetrailError("no test question has a gold passage in the corpus", hint="Is this the right corpus?")
    names = list(next(iter(questions.values())).orders[ALL])
    most = step.settings["recall"]["top_k"]
    depths = [*(depth for depth in DEPTHS if depth < most), most]
    tables = {pool: curves(questions, pool, names, depths) for pool in (OWN, ALL)}
    metrics = {
        "model": FUSED,
        "first_retrieval": first,
        "test_questions": len(questions),
        "without_gold_passage_in_the_corpus": without,
        "comparisons": compared(questions, names, first, drawn),
        "rankings": tables,
    }
    step.file(args.out).write_text(render_json(metrics), encoding="utf-8")
    draw_recall({name: table["recall"] for name, table in tables[ALL].items()}, step.file(args.picture))
    dropped = {"no gold passage in the corpus": without}
    step.count(rows_in=len(questions) + without, kept=len(questions), dropped=dropped)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "reranked.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "the scores")
    add_output(parser, "--picture", "the recall curves, as SVG")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
