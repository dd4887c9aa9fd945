"""Units of the metrics: what a turn adds to each."""

from typing import Any

import pytest

from evaluate.score_answers import loss_units, score_spans
from finetrail.metrics.compare import compare


def row(name: str, group: str, nats: float, tokens: int) -> dict[str, Any]:
    return {"id": name, "group": group, "loss": {"nats": nats, "tokens": tokens}}


def test_the_loss_is_a_mean_of_tokens_not_of_turns() -> None:
    tuned = [row("a", "g", 2.0, 1), row("b", "g", 18.0, 9), row("c", "h", 10.0, 10)]
    base = [row("a", "g", 3.0, 1), row("b", "g", 27.0, 9), row("c", "h", 30.0, 10)]
    models = {"tuned": loss_units(tuned), "base": loss_units(base)}
    found = compare("loss", "tuned", models, higher_is_better=False, resamples=50, seed=1)
    assert found["models"]["tuned"]["estimate"] == pytest.approx(30 / 20)
    assert found["differences"]["base"]["estimate"] == pytest.approx(30 / 20 - 60 / 20)


def test_a_kind_of_questions_without_a_loss_still_has_its_other_scores() -> None:
    """The only question of a kind was set aside: it counts as wrong, and there is no loss to compare."""
    grade = {"exact_match": 0.0, "f1": 0.0}
    rows = [row("a", "g", 2.0, 1) | {"kind": "existing", "grade": grade}]
    rows += [{"id": "b", "group": "g", "loss": None, "kind": "seen_document", "grade": grade}]
    found = score_spans("tuned", {"tuned": rows, "base": rows}, {"resamples": 100, "seed": 1})
    kinds = {"existing", "seen_document"}
    scores = {f"{score}_{kind}" for score in ("exact_match", "f1") for kind in kinds}
    assert found["comparisons"].keys() == {"held_out_loss_existing", *scores}
