"""How wrong a model is at what share of the questions, when it keeps silent where it is likeliest to refuse.

El-Yaniv and Wiener 2010 (JMLR 11); Geifman and El-Yaniv 2017 (arXiv:1705.08500). The model answers the questions with
the smallest probability of a refusal; each threshold gives one point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DIGITS = 6


@dataclass(frozen=True)
class Answered:
    """One question, as a model dealt with it.

    Attributes:
        row_id: breaks ties.
        refusal_nats: minus the logarithm of the probability of the refusal, behind the model's own history.
        is_wrong: the answer is wrong.
        is_refusal: the answer is itself a refusal: it is never covered, and costs nothing.
    """

    row_id: str
    refusal_nats: float
    is_wrong: bool
    is_refusal: bool


def risk_coverage(answers: Sequence[Answered]) -> dict[str, Any]:
    """Return the curve, from the model's surest answer to all that it gives.

    Args:
        answers: all questions of a test set.

    Returns:
        ``points``: ``threshold`` (largest probability of a refusal that is answered), ``coverage`` (share of all
        questions), ``risk`` (share of wrong among the answered); ``area``: mean risk as each is added (or none).
    """
    ranked = sorted(
        (one for one in answers if not one.is_refusal), key=lambda one: (-round(one.refusal_nats, DIGITS), one.row_id)
    )
    points: list[dict[str, float]] = []
    risks: list[float] = []
    wrong = 0
    for count, one in enumerate(ranked, start=1):
        wrong += one.is_wrong
        risks.append(wrong / count)
        chance = round(math.exp(-one.refusal_nats), DIGITS)
        point = {"coverage": round(count / len(answers), DIGITS), "risk": round(risks[-1], DIGITS)}
        if points and points[-1]["threshold"] == chance:
            points.pop()  # one threshold lets all of them through
        points.append({"threshold": chance, **point})
    area = round(sum(risks) / len(risks), DIGITS) if risks else None
    return {"questions": len(answers), "answered": len(ranked), "area": area, "points": points}
