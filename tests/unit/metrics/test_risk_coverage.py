"""The risk-coverage curve: from the surest answer on, refusals aside."""

from math import log

import pytest

from finetrail.metrics.risk_coverage import Answered, risk_coverage


def answer(name: str, chance: float, wrong: bool = False, refusal: bool = False) -> Answered:
    return Answered(name, -log(chance), wrong, refusal)


def test_points_go_from_the_surest_answer_to_all() -> None:
    rows = [answer("a", 0.5, wrong=True), answer("b", 0.1), answer("c", 0.2), answer("d", 0.9, refusal=True)]
    curve = risk_coverage(rows)
    assert (curve["questions"], curve["answered"]) == (4, 3)
    assert [(p["threshold"], p["coverage"], p["risk"]) for p in curve["points"]] == [
        (0.1, 0.25, 0.0),
        (0.2, 0.5, 0.0),
        (0.5, 0.75, pytest.approx(1 / 3, abs=1e-6)),
    ]
    assert curve["area"] == pytest.approx(1 / 9, abs=1e-6)
    assert risk_coverage(rows[::-1]) == curve


def test_answers_that_are_as_sure_share_a_threshold() -> None:
    (point,) = risk_coverage([answer("a", 0.3, wrong=True), answer("b", 0.3)])["points"]
    assert (point["coverage"], point["risk"]) == (1.0, 0.5)


def test_a_model_that_refuses_everything_has_no_curve() -> None:
    curve = risk_coverage([answer("a", 0.9, refusal=True)])
    assert (curve["points"], curve["area"], curve["answered"]) == ([], None, 0)
