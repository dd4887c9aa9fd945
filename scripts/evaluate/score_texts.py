"""Score what a model writes about images beside its controls: likeness to the references, and whether it looks.

The likeness of a text to its own reference stands beside its likeness to the references of other cases: a model that
writes one good sentence about everything is as like to those. Intervals are drawn over cases.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from finetrail.metrics.compare import Measurement, compare, set_aside, set_aside_lines, table_lines
from finetrail.metrics.likeness import likenesses
from finetrail.metrics.rouge import KINDS
from finetrail.metrics.similarity import embedder_name
from finetrail.metrics.swaps import right_beats_another
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, read_rows
from finetrail.serving.offline.teacher import rests_on_offline
from finetrail.step.step import LOGGER, Step, add_input, add_output, run_step, step_parser

SETTINGS = ("evaluate",)
ENVIRONMENT = "texts"

CONTROLS = {
    "base": "the untuned language model, without the image",
    "frequent": "the commonest train text",
    "nearest": "the text of the nearest train image",
    "class_name": "what the classifier names the image",
}
NAMED = {"summary": "summaries", "caption": "captions"}

Models = Mapping[str, Sequence[Row]]
"""Model → its predictions."""


def measures_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what is measured of each text, and how it is said."""
    judged = (*settings["criteria"], "overall") if settings["judge"] else ()
    said = {"cosine": "cosine of embeddings", "token_f1": "F1 over words", **KINDS}
    return {name: said[name] for name in settings["measures"]} | {
        f"judged_{name}": f"judge's score of 10, {name.replace('_', ' ')}," for name in judged
    }


def compare_measures(subject: str, models: Models, scores: Mapping[str, Sequence[Row]], settings: Row) -> Row:
    """Compare every measure of every kind of texts, paired over cases."""
    drawn = {"resamples": settings["resamples"], "seed": settings["seed"]}
    comparisons: dict[str, Row] = {}
    for kind in dict.fromkeys(row["kind"] for row in models[subject]):
        rests_on = sorted({row["rests_on"] for row in models[subject] if row["kind"] == kind})
        for measure, said in measures_of(settings).items():
            units = {
                name: {
                    row["id"]: Measurement(row["group"], score["matched" if measure == "cosine" else measure])
                    for row, score in zip(rows, scores[name], strict=True)
                    if row["kind"] == kind
                }
                for name, rows in models.items()
            }
            metric = f"{NAMED[kind]}, {said} with the reference"
            compared = compare(metric, subject, units, higher_is_better=True, **drawn)
            judge = [f"the judge {settings['judge']['model']}"] if measure.startswith("judged_") else []
            on = " and ".join([f"texts of the {' and '.join(rests_on)}", *judge])
            comparisons[f"{kind}_{measure}"] = compared | {"rests_on": on}
    return comparisons


def looking(models: Models, drawn: dict[str, Any]) -> Row:
    """Say of each model how often the right image beats another one, by kind and over all rows."""
    shown = {name: rows for name, rows in models.items() if any(row.get("swapped") for row in rows)}
    return {
        name: {kind: right_beats_another([row for row in rows if row["kind"] == kind], drawn) for kind in NAMED}
        | {"all": right_beats_another(rows, drawn)}
        for name, rows in shown.items()
    }


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the metrics file, and the scores of every row."""
    settings: dict[str, Any] = step.settings["evaluate"]
    models = {path.parent.name: list(read_rows(path)) for path in (args.tuned, *args.controls)}
    subject = args.tuned.parent.name
    scores = {name: likenesses(rows, settings["embedding"]) for name, rows in models.items()}
    comparisons = compare_measures(subject, models, scores, settings)
    for comparison in comparisons.values():
        LOGGER.info("%s", "\n".join(["", *table_lines(comparison)]))
    judge = settings["judge"] and settings["judge"]["model"]
    metrics = {
        "model": subject,
        "fold": args.tuned.stem.removesuffix(".judged"),
        "controls": CONTROLS,
        "embedding": embedder_name(settings["embedding"]),
        "judge": {"model": judge, **rests_on_offline(judge)},
        "training_seeds": [args.seeds],
        "comparisons": comparisons,
        **set_aside(models),
        "mismatched": {name: _means(models[name], found) for name, found in scores.items()},
        "right_image_beats_another": looking(models, {"resamples": settings["resamples"], "seed": settings["seed"]}),
        "classifier_agrees": _share([row["class"] for row in models[subject]], args, models[subject]),
    }
    for line in set_aside_lines(metrics):
        LOGGER.warning("%s", line)
    step.file(args.out).write_text(render_json(metrics), encoding="utf-8")
    step.count(rows_in=len(models[subject]), kept=len(models[subject]))


def _means(rows: Sequence[Row], found: Sequence[Row]) -> Row:
    """Return, by kind, the mean likeness to the own reference and to those of other cases."""
    means: Row = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [score for row, score in zip(rows, found, strict=True) if row["kind"] == kind]
        other = [score["mismatched"] for score in own if score["mismatched"] is not None]
        means[kind] = {
            "matched": round(sum(score["matched"] for score in own) / len(own), 6),
            "mismatched": round(sum(other) / len(other), 6) if other else None,
        }
    return means


def _share(named: Sequence[str], args: argparse.Namespace, rows: Sequence[Row]) -> Row:
    """Return how often the classifier names the class of the record."""
    known = {row["id"]: row["task"]["cond_name"] for row in read_rows(args.test)}
    agree = sum(name == known[row["id"]] for name, row in zip(named, rows, strict=True))
    return {"rows": len(rows), "agree": agree}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--tuned", "predictions of the model")
    add_input(parser, "--controls", "predictions of its controls", nargs="+")
    add_input(parser, "--test", "the fold's test.jsonl")
    parser.add_argument("--seeds", type=int, required=True, help="seed of the training that is scored")
    add_output(parser, "--out", "metrics file")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
