"""Units of the metrics: what a turn adds to each."""

from typing import Any

import pytest

from evaluate.score_answers import loss_units
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
