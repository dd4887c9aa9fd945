import json
from pathlib import Path
from typing import Any

import pytest

from finetrail.metrics.turn_score import (
    Turn,
    grade,
    is_exact_match,
    is_miss,
    needs_judge,
    score_turns,
    stop_early,
)

VECTORS = Path(__file__).parents[2] / "data/eval_vectors"


def vectors(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return loaded


def turns(verdicts: str, session: str = "s") -> list[Turn]:
    """C is correct, X an exact match, M a miss, W wrong."""
    return [Turn(session, n, v in "CX", v == "X", v == "M") for n, v in enumerate(verdicts)]


@pytest.mark.parametrize("vector", vectors("cragmm_calculate_scores.json"), ids=lambda vector: vector["name"])
def test_totals_equal_the_published_function_to_the_last_bit(vector: dict[str, Any]) -> None:
    given = [
        Turn(t["session_id"], t["turn_idx"], t["is_correct"], t["is_exact_match"], t["is_miss"])
        for t in vector["turns"]
    ]
    scores = score_turns(given)
    assert scores["before_early_stop"] == vector["scores_facebookresearch_CRAG_MM"]
    assert scores["after_early_stop"] == vector["scores_totals_after_early_stop"]
    assert score_turns(given[::-1]) == scores


@pytest.mark.parametrize("vector", vectors("cragmm_is_miss.json"), ids=lambda vector: vector["text"])
def test_misses_equal_the_published_function(vector: dict[str, Any]) -> None:
    assert is_miss(vector["text"]) == vector["is_miss_facebookresearch"]


def test_all_vectors_are_there() -> None:
    assert (len(vectors("cragmm_calculate_scores.json")), len(vectors("cragmm_is_miss.json"))) == (13, 14)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("WWCC", "WWMM"),
        ("WCWC", "WCWC"),
        ("MWX", "MWM"),
        ("CWMCW", "CWMMM"),
        ("W", "W"),
        ("CWW", "CWW"),
        ("", ""),
    ],
)
def test_two_failures_in_a_row_end_a_conversation(before: str, after: str) -> None:
    assert stop_early(turns(before)) == turns(after)


@pytest.mark.parametrize(
    ("answer", "gold", "judged", "points", "asks"),
    [
        ("Paris", "  paris ", False, 1, False),
        ("I don't know", "I don't know", False, 1, False),
        ("I don't know", "Paris", True, 0, False),
        ("The capital, Paris", "Paris", True, 1, True),
        ("Lyon", "Paris", False, -1, True),
        ("", "Paris", False, -1, True),
    ],
)
def test_grading(answer: str, gold: str, judged: bool, points: int, asks: bool) -> None:
    turn = grade("s", 0, answer, gold, judged_correct=judged)
    assert turn.points == points
    assert turn.is_exact_match == is_exact_match(answer, gold)
    assert not (turn.is_correct and turn.is_miss)
    assert needs_judge(answer, gold) == asks


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no turn"):
        score_turns([])
