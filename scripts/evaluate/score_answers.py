"""Score a model beside its controls: untuned base, the same training on shuffled labels, a trivial answer.

Every figure carries an interval of the group bootstrap, every comparison is paired.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.metrics.choice_score import Answered as Chosen
from finetrail.metrics.choice_score import score_choices
from finetrail.metrics.compare import Measurement, compare, set_aside, set_aside_lines, table_lines
from finetrail.metrics.hop_table import score_hops
from finetrail.metrics.risk_coverage import Answered, risk_coverage
from finetrail.metrics.swaps import right_beats_another
from finetrail.metrics.turn_score import Turn, score_turns, sessions_of, stop_early
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, read_rows
from finetrail.serving.offline.teacher import rests_on_offline
from finetrail.step.step import LOGGER, Step, add_input, add_output, run_step, step_parser

SETTINGS = ("evaluate",)
ENVIRONMENT = "data"

HELD_OUT_LOSS = "held-out loss, nats a token (original answers, gold history)"
OWN_LOOKUPS = "held-out loss, nats a token (original answers, gold history, each model's own queries and choices)"
ANSWER_LOSS = "held-out loss, nats a token"
TRUTHFULNESS = "truthfulness, mean of turns after the early stop"
ACCURACY = "accuracy, share of correct turns before the early stop"
OTHER_ANSWERS = "the same training on answers of other sessions' questions"
OTHER_LABELS = "the same training with the answers' places shuffled among the prompts"
REFUSES = "refuses every question; its loss is a unigram model's"
ABSTAINS = "takes the option that abstains, else the first; its loss is a unigram model's"
CONDITIONS = {"ambig": "ambiguous", "disambig": "disambiguated"}
TEST_SETS = {
    "seen_document": "new questions on seen documents, closed book",
    "unseen_document": "questions on unseen documents, the chunk in the prompt",
    "existing": "existing pairs of held-out documents",
}
SPAN_SCORES = {"exact_match": "exact match", "f1": "F1"}
WAYS = {
    "likeliest": "by likelihood over the options, behind the model's own reasoning",
    "generated": "of generated answers",
}

Models = Mapping[str, Sequence[Row]]
"""Model → its graded predictions."""


def turns_of(rows: Sequence[Row]) -> list[Turn]:
    """Return the graded turns."""
    grades = ((row, row["grade"]) for row in rows)
    return [Turn(row["session_id"], row["turn"], g["correct"], g["exact_match"], g["miss"]) for row, g in grades]


def answered_of(rows: Sequence[Row]) -> list[Answered]:
    """Return how a model dealt with each question, and how likely it was to refuse it; one set aside is not covered."""
    return [
        Answered(row["id"], row["refusal"]["nats"], not row["grade"]["correct"], row["grade"]["miss"])
        if "refusal" in row
        else Answered(row["id"], 0.0, is_wrong=True, is_refusal=True)
        for row in rows
    ]


def report_lookups(rows: Sequence[Row]) -> Row:
    """Say what a model that searches for itself did before its answers."""
    lookups = [row["lookup"] for row in rows if "lookup" in row]
    return {
        "turns": len(lookups),
        "wrote_queries": sum(lookup["queries"][0]["origin"] == "student" for lookup in lookups),
        "found_nothing": sum(not lookup["found"] for lookup in lookups),
        "chose": dict(sorted(Counter(lookup["chose"] for lookup in lookups).items())),
        "chose_none": sum(lookup["chose"] == "model" and not lookup["passages"] for lookup in lookups),
        "mean_passages_shown": round(sum(len(lookup["passages"]) for lookup in lookups) / len(lookups), 6),
    }


def loss_units(rows: Sequence[Row]) -> dict[str, Measurement]:
    """Return the loss of each turn that has one, weighted by its tokens."""
    measured = ((row, row["loss"]) for row in rows if row["loss"] is not None)
    return {row["id"]: Measurement(row["group"], loss["nats"], loss["tokens"]) for row, loss in measured}


def point_units(rows: Sequence[Row]) -> dict[str, Measurement]:
    """Return the points of each turn after the early stop of its session."""
    group = {row["session_id"]: row["group"] for row in rows}
    sessions = sessions_of(turns_of(rows)).values()
    turns = [turn for session in sessions for turn in stop_early(session)]
    return {f"{t.session_id}:{t.number}": Measurement(group[t.session_id], t.points) for t in turns}


def correct_units(rows: Sequence[Row]) -> dict[str, Measurement]:
    """Return whether each turn is correct."""
    return {row["id"]: Measurement(row["group"], float(row["grade"]["correct"])) for row in rows}


def choice_units(rows: Sequence[Row], way: str, condition: str | None) -> dict[str, Measurement]:
    """Return whether each choice is the key; of one condition where one is named."""
    chosen = (row for row in rows if condition in (None, row["choice"]["condition"]))
    return {row["id"]: Measurement(row["group"], float(row["grade"][way] == row["choice"]["key"])) for row in chosen}


def report_judge(settings: Row, rows: Sequence[Row]) -> Row:
    """Say who judged, and what its verdicts are worth."""
    judge = settings["judge"]
    name = judge and judge["model"]
    return {
        "model": name,
        "judged_turns": sum(bool(row["calls"]) for row in rows),
        "same_as_filter_judge_allowed": settings["allow_same_judge"],
        **rests_on_offline(name),
    }


def measured_by_all(models: Models) -> set[str]:
    """Return the ids of the turns that have a loss of every model."""
    return set.intersection(*(set(loss_units(rows)) for rows in models.values()))


def held_out_loss(
    subject: str, models: Models, drawn: Row, metric: str = HELD_OUT_LOSS, rests_on: str = "gold answers"
) -> Row:
    """Compare the held-out losses, on the turns that have one of every model."""
    shared = measured_by_all(models)
    units = {name: loss_units([row for row in rows if row["id"] in shared]) for name, rows in models.items()}
    return compare(metric, subject, units, higher_is_better=False, **drawn) | {"rests_on": rests_on}


def score_conversations(settings: Row, subject: str, models: Models, drawn: Row) -> Row:
    """Score judged answers, turn by turn."""
    judge = report_judge(settings, models[subject])
    measured = {"truthfulness": (TRUTHFULNESS, point_units), "accuracy": (ACCURACY, correct_units)}
    alone = any("lookup" in row for row in models[subject])
    comparisons = {"held_out_loss": held_out_loss(subject, models, drawn, OWN_LOOKUPS if alone else HELD_OUT_LOSS)}
    for name, (metric, units_of) in measured.items():
        units = {model: units_of(rows) for model, rows in models.items()}
        compared = compare(metric, subject, units, higher_is_better=True, **drawn)
        comparisons[name] = compared | {"rests_on": f"the judge {judge['model']}"}
    scores = {name: score_turns(turns_of(rows)) for name, rows in models.items()}
    curves = {
        name: risk_coverage(answered_of(rows)) for name, rows in models.items() if any("refusal" in row for row in rows)
    }
    lookups = {name: report_lookups(rows) for name, rows in models.items() if any("lookup" in row for row in rows)}
    return {
        "judge": judge,
        "comparisons": comparisons,
        "turn_scores": scores,
        "risk_coverage": curves,
        **({"lookups": lookups} if lookups else {}),
    }


def score_options(subject: str, models: Models, drawn: Row) -> Row:
    """Score multiple-choice answers, by likelihood and as generated, and for each condition that the questions have."""
    found = {row["choice"]["condition"] for row in models[subject]}
    comparisons = {"held_out_loss": held_out_loss(subject, models, drawn)}
    for way, said in WAYS.items():
        for condition in (None, *(name for name in CONDITIONS if name in found)):
            units = {name: choice_units(rows, way, condition) for name, rows in models.items()}
            metric = f"accuracy {said}" + (f", {CONDITIONS[condition]} questions" if condition else "")
            compared = compare(metric, subject, units, higher_is_better=True, **drawn)
            comparisons["_".join(filter(None, (way, "accuracy", condition)))] = compared | {"rests_on": "gold keys"}
    scores = {
        name: {way: score_choices([Chosen.of(row["choice"], row["grade"][way]) for row in rows]) for way in WAYS}
        for name, rows in models.items()
    }
    return {"comparisons": comparisons, "choice_scores": scores}


def span_units(rows: Sequence[Row], kind: str, score: str) -> dict[str, Measurement]:
    """Return a score of each answer to a kind of questions."""
    chosen = (row for row in rows if row["kind"] == kind)
    return {row["id"]: Measurement(row["group"], row["grade"][score]) for row in chosen}


def score_spans(subject: str, models: Models, drawn: Row) -> Row:
    """Score answers against supporting spans, each kind of test questions by itself."""
    comparisons: dict[str, Row] = {}
    sets: dict[str, Row] = {}
    kinds = sorted({row["kind"] for row in models[subject]})
    for kind in kinds:
        said = TEST_SETS.get(kind, kind)
        asked = {name: [row for row in rows if row["kind"] == kind] for name, rows in models.items()}
        facts = [row["fact_trained"] for row in asked[subject] if "fact_trained" in row]
        sets[kind] = {"questions": len(asked[subject]), "meaning": said}
        sets[kind] |= {"of_which_a_train_pair_rests_on_the_same_words": sum(facts)} if facts else {}
        if measured_by_all(asked):
            comparisons[f"held_out_loss_{kind}"] = held_out_loss(
                subject, asked, drawn, f"{ANSWER_LOSS}: {said}", "answers that the teacher wrote"
            )
        for score, name in SPAN_SCORES.items():
            units = {model: span_units(rows, kind, score) for model, rows in models.items()}
            compared = compare(f"{name}: {said}", subject, units, higher_is_better=True, **drawn)
            comparisons[f"{score}_{kind}"] = compared | {"rests_on": "spans of the documents that the teacher quoted"}
    return {"comparisons": comparisons, "test_sets": sets}


def looking(models: Models, drawn: Row) -> Row:
    """Say how often the right image beats another one; nothing where no model is shown images."""
    found = {name: right_beats_another(rows, drawn) for name, rows in models.items()}
    shares = {name: share for name, share in found.items() if share is not None}
    return {"right_image_beats_another": shares} if shares else {}


# What the controls of each metric are: the shuffled training, and the trivial answers.
CONTROLS = {
    "turns": (OTHER_ANSWERS, REFUSES),
    "choices": (OTHER_LABELS, ABSTAINS),
    "hops": (OTHER_ANSWERS, REFUSES),
    "spans": (OTHER_ANSWERS, REFUSES),
}


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the metrics file."""
    settings: dict[str, Any] = step.settings["evaluate"]
    paths: list[Path] = [args.tuned, *args.controls]
    models = {path.parent.name: list(read_rows(path)) for path in paths}
    subject = args.tuned.parent.name
    drawn = {"resamples": settings["resamples"], "seed": settings["seed"]}
    metric = settings["metric"]
    if metric == "turns":
        scores = score_conversations(settings, subject, models, drawn)
    elif metric == "choices":
        scores = score_options(subject, models, drawn)
    elif metric == "spans":
        scores = score_spans(subject, models, drawn)
    else:
        scores = score_hops(subject, models, drawn, held_out_loss)
    shuffled, trivial = CONTROLS[metric]
    for comparison in scores["comparisons"].values():
        LOGGER.info("%s", "\n".join(["", *table_lines(comparison)]))
    metrics = {
        "model": subject,
        "fold": args.tuned.stem.removesuffix(".judged"),
        "controls": {
            "base": "the untuned base model",
            f"{subject}_shuffled": shuffled,
            "trivial": trivial,
        },
        "training_seeds": [args.seeds],
        **looking(models, drawn),
        **set_aside(models),
        **scores,
    }
    for line in set_aside_lines(metrics):
        LOGGER.warning("%s", line)
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
