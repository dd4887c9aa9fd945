"""Score the candidates of every question with the trained cross-encoder.

Those of a train question are scored by the model that did not learn from it; those of dev and test questions by the
model that learned from all, and beside it by the untrained one.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.reranker_folder import BASE, model_for, pair_text
from finetrail.retrieval.reranker_model import load_cross_encoder
from finetrail.rows.artifacts import check_manifest
from finetrail.rows.records import Row, read_table, round_score
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("rerank",)
ENVIRONMENT = "dense"

BLOCK = 64
DIGITS = 4


class Scorer:
    """The models of a reranker's folder, each loaded when it is first asked for."""

    def __init__(self, args: argparse.Namespace, max_tokens: int) -> None:
        self._folder = args.reranker.parent
        self._max_tokens = max_tokens
        self._models: dict[str, Any] = {}

    def scores(self, name: str, pairs: list[tuple[str, str]]) -> list[float]:
        """Score (question, passage) pairs by a model."""
        if name not in self._models:
            self._models[name] = load_cross_encoder(self._folder / name, self._max_tokens)
        made = self._models[name].predict(pairs, batch_size=128, show_progress_bar=False, convert_to_numpy=True)
        return [round_score(float(score), DIGITS) for score in made]


def score_block(scorer: Scorer, asked: Sequence[tuple[Row, str]], texts: PassageFile) -> list[list[float]]:
    """Score the candidates of several questions, all pairs of a model at once.

    Args:
        scorer: of the reranker.
        asked: rows, each with the name of its model.
        texts: the passages.
    """
    pairs: dict[str, list[tuple[str, str]]] = {}
    places: list[tuple[str, int, int]] = []
    for row, name in asked:
        mine = pairs.setdefault(name, [])
        found = [(row["question"], pair_text(texts[candidate["passage_id"]])) for candidate in row["candidates"]]
        places.append((name, len(mine), len(mine) + len(found)))
        mine += found
    scored = {name: scorer.scores(name, mine) if mine else [] for name, mine in pairs.items()}
    return [scored[name][start:end] for name, start, end in places]


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a question, with a score a candidate."""
    choice = step.settings["rerank"]["train"]
    check_manifest(args.reranker.parent, args.reranker)
    splits = read_table(args.splits)
    scorer = Scorer(args, choice["max_tokens"])
    out = step.writer(args.out)
    with PassageFile(args.passages) as texts:
        rows = step.rows(args.rows, "questions")
        while block := list(islice(rows, BLOCK)):
            homes = [splits[row["id"]] for row in block]
            names = [model_for(home["split"], home["group"], choice["folds"], choice["seed"]) for home in homes]
            after = score_block(scorer, list(zip(block, names, strict=True)), texts)
            held_out = [row for row, home in zip(block, homes, strict=True) if home["split"] in ("dev", "test")]
            before = iter(score_block(scorer, [(row, BASE) for row in held_out], texts))
            for row, home, name, scores in zip(block, homes, names, after, strict=True):
                untrained = {"before": next(before)} if home["split"] in ("dev", "test") else {}
                out.write({"id": row["id"], "model": name, "scores": scores, **untrained})
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "recall.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(parser, "--reranker", "manifest.json of the trained reranker")
    add_output(parser, "--out", "pair_scores.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
