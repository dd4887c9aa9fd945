"""Score a model beside its controls: untuned base, the same training on shuffled labels, a trivial answer.

Every figure carries an interval of the group bootstrap, every comparison is paired.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetrail.artifacts import render_json
from finetrail.metrics.compare import Measurement, compare, table_lines
from finetrail.metrics.turn_score import Turn, score_turns, sessions_of, stop_early
from finetrail.records import Row, read_rows
from finetrail.step import LOGGER, Step, add_input, add_output, run_step, step_parser

HELD_OUT_LOSS = "held-out loss, nats a token (original answers, gold history)"
TRUTHFULNESS = "truthfulness, mean of turns after the early stop"
ACCURACY = "accuracy, share of correct turns before the early stop"


def turns_of(rows: Sequence[Row]) -> list[Turn]:
    """Return the graded turns."""
    grades = ((row, row["grade"]) for row in rows)
    return [Turn(row["session_id"], row["turn"], g["correct"], g["exact_match"], g["miss"]) for row, g in grades]


def loss_units(rows: Sequence[Row]) -> dict[str, Measurement]:
    """Return the loss of each turn, weighted by its tokens."""
    return {row["id"]: Measurement(row["group"], row["loss"]["nats"], row["loss"]["tokens"]) for row in rows}


def point_units(rows: Sequence[Row]) -> dict[str, Measurement]:
    """Return the points of each turn after the early stop of its session."""
    group = {row["session_id"]: row["group"] for row in rows}
    sessions = sessions_of(turns_of(rows)).values()
    turns = [turn for session in sessions for turn in stop_early(session)]
    return {f"{t.session_id}:{t.number}": Measurement(group[t.session_id], t.points) for t in turns}


def correct_units(rows: Sequence[Row]) -> dict[str, Measurement]:
    """Return whether each turn is correct."""
    return {row["id"]: Measurement(row["group"], float(row["grade"]["correct"])) for row in rows}


def report_judge(settings: Row, rows: Sequence[Row]) -> Row:
    """Say who judged, and what its verdicts are worth."""
    judge = settings["judge"]
    name = judge and judge["model"]
    offline = bool(name and name.startswith("offline-"))
    return {
        "model": name,
        "judged_turns": sum(bool(row["calls"]) for row in rows),
        "same_as_filter_judge_allowed": settings["allow_same_judge"],
        "rests_on_offline_teacher": offline,
        "note": "The offline teacher compares words: figures that rest on it say that the chain works, not how good "
        "the answers are"
        if offline
        else None,
    }


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the metrics file."""
    settings: dict[str, Any] = step.settings["evaluate"]
    paths: list[Path] = [args.tuned, *args.controls]
    models = {path.parent.name: list(read_rows(path)) for path in paths}
    subject = args.tuned.parent.name
    drawn = {"resamples": settings["resamples"], "seed": settings["seed"]}
    comparisons = {
        "held_out_loss": compare(
            HELD_OUT_LOSS,
            subject,
            {n: loss_units(r) for n, r in models.items()},
            higher_is_better=False,
            **drawn,
        ),
        "truthfulness": compare(
            TRUTHFULNESS,
            subject,
            {n: point_units(r) for n, r in models.items()},
            higher_is_better=True,
            **drawn,
        ),
        "accuracy": compare(
            ACCURACY,
            subject,
            {n: correct_units(r) for n, r in models.items()},
            higher_is_better=True,
            **drawn,
        ),
    }
    judge = report_judge(settings, models[subject])
    for name, comparison in comparisons.items():
        comparison["rests_on"] = "gold answers" if name == "held_out_loss" else f"the judge {judge['model']}"
        LOGGER.info("%s", "\n".join(["", *table_lines(comparison)]))
    metrics = {
        "model": subject,
        "fold": args.tuned.stem.removesuffix(".judged"),
        "controls": {
            "base": "the untuned base model",
            f"{subject}_shuffled": "the same training on answers of other sessions' questions",
            "trivial": "refuses every question; its loss is a unigram model's",
        },
        "training_seeds": [args.seeds],
        "judge": judge,
        "comparisons": comparisons,
        "turn_scores": {name: score_turns(turns_of(rows)) for name, rows in models.items()},
    }
    step.file(args.out).write_text(render_json(metrics), encoding="utf-8")
    step.count(rows_in=len(models[subject]), kept=len(models[subject]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--tuned", "judged predictions of the model")
    add_input(parser, "--controls", "judged predictions of its controls", nargs="+")
    parser.add_argument("--seeds", type=int, required=True, help="seed of the training that is scored")
    add_output(parser, "--out", "metrics file")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
