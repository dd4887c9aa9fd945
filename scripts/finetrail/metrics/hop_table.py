"""The table of scores of multi-hop answers: a model beside its controls and between its bounds."""

from collections.abc import Callable, Mapping, Sequence

from finetrail.metrics.compare import Measurement, compare
from finetrail.metrics.hop_grades import summarise
from finetrail.rows.records import Row

AS_DEPLOYED = "retrieved"
CLOSED_BOOK = "closed_book"
GOLD = "gold_0"
RESTS_ON = "gold answers and supporting facts"
MEASURES = {
    "answer_f1": ("F1 of the answer, as deployed", "f1"),
    "answer_em": ("exact match of the answer, as deployed", "em"),
    "facts_f1": ("F1 of the supporting facts, as deployed", "sp_f1"),
    "joint_f1": ("joint F1, as deployed", "joint_f1"),
}

Models = Mapping[str, Sequence[Row]]
"""Model → its graded predictions in every condition."""


def units(rows: Sequence[Row], field: str, condition: str) -> dict[str, Measurement]:
    """Return a field of the grades in a condition, by record, so that conditions can be paired."""
    chosen = (row for row in rows if row["condition"] == condition)
    return {row["record_id"]: Measurement(row["group"], float(row["grade"][field])) for row in chosen}


def score_hops(subject: str, models: Models, drawn: Row, held_out: Callable[[str, Models, Row], Row]) -> Row:
    """Score a model beside its controls, and beside itself with no passage and with the gold ones alone.

    Args:
        subject: the model of interest.
        models: it and its controls.
        drawn: ``resamples`` and ``seed`` of the intervals.
        held_out: compares held-out losses.
    """
    deployed = {name: [row for row in rows if row["condition"] == AS_DEPLOYED] for name, rows in models.items()}
    comparisons = {"held_out_loss": held_out(subject, deployed, drawn)}
    for key, (metric, field) in MEASURES.items():
        measured = {name: units(rows, field, AS_DEPLOYED) for name, rows in models.items()}
        made = compare(metric, subject, measured, higher_is_better=True, **drawn)
        comparisons[key] = made | {"rests_on": RESTS_ON}
    bounds = {
        subject: units(models[subject], "f1", AS_DEPLOYED),
        f"{subject}, closed-book": units(models[subject], "f1", CLOSED_BOOK),
        f"{subject}, gold passages alone": units(models[subject], "f1", GOLD),
        "base, closed-book": units(models["base"], "f1", CLOSED_BOOK),
        "base, gold passages alone": units(models["base"], "f1", GOLD),
    }
    made = compare("F1 of the answer, between its bounds", subject, bounds, higher_is_better=True, **drawn)
    comparisons["bounds"] = made | {"rests_on": RESTS_ON}
    return {"comparisons": comparisons, "hop_scores": {name: tables(rows) for name, rows in models.items()}}


def tables(rows: Sequence[Row]) -> Row:
    """Return a model's scores in every condition, and as deployed by type and level."""
    named: dict[str, list[Row]] = {}
    for row in rows:
        named.setdefault(row["condition"], []).append(row["grade"])
        if row["condition"] == AS_DEPLOYED:
            for key in ("type", "level"):
                named.setdefault(f"{key}: {row[key]}", []).append(row["grade"])
    return {name: summarise(grades) for name, grades in named.items()}
