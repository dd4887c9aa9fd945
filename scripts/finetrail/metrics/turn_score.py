"""The score of question-answering conversations that rewards saying "I don't know" over being wrong.

A turn is worth 1 if it is correct, 0 if it is a miss (the model says that it does not know) and -1 otherwise
(a hallucination). Defined by CRAG (Yang et al., NeurIPS 2024) and, for several turns, by the CRAG-MM
benchmark (KDD Cup 2025), whose published scoring function this reproduces.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

_OTHER = re.compile(r"[^a-z0-9 ]")
_MISSES = ("i dont know", "i do not know")
STOP_AFTER = 2
"""Consecutive turns that are not correct after which a conversation ends."""


@dataclass(frozen=True)
class Turn:
    """The verdict on one turn; what is neither correct nor a miss is a hallucination."""

    session_id: str
    number: int
    is_correct: bool
    is_exact_match: bool
    is_miss: bool

    @property
    def points(self) -> int:
        """1, 0 or -1."""
        return 1 if self.is_correct else 0 if self.is_miss else -1


def is_miss(answer: str) -> bool:
    """Say whether an answer admits not to know, in letters, digits and spaces alone."""
    plain = _OTHER.sub("", answer.lower())
    return any(phrase in plain for phrase in _MISSES)


def is_exact_match(answer: str, gold: str) -> bool:
    """Say whether two answers are equal but for case and white space around them."""
    return answer.strip().lower() == gold.strip().lower()


def grade(session_id: str, number: int, answer: str, gold: str, *, judged_correct: bool) -> Turn:
    """Turn an answer and a judge's verdict on it into the verdict on its turn.

    An exact match is correct whatever the judge says, and then no miss; a miss is never correct otherwise.
    """
    exact = is_exact_match(answer, gold)
    miss = not exact and is_miss(answer)
    return Turn(session_id, number, exact or (judged_correct and not miss), exact, miss)


def needs_judge(answer: str, gold: str) -> bool:
    """Say whether a turn's verdict depends on the judge."""
    return not is_exact_match(answer, gold) and not is_miss(answer)


def sessions_of(turns: Iterable[Turn]) -> dict[str, list[Turn]]:
    """Collect turns by session, each session in the order of its turns."""
    sessions: dict[str, list[Turn]] = {}
    for turn in turns:
        sessions.setdefault(turn.session_id, []).append(turn)
    return {name: sorted(members, key=lambda turn: turn.number) for name, members in sessions.items()}


def stop_early(turns: Sequence[Turn]) -> list[Turn]:
    """Make misses of all turns of one conversation after two consecutive ones that are not correct."""
    failures = 0
    result = []
    for turn in turns:
        if failures >= STOP_AFTER:
            result.append(replace(turn, is_correct=False, is_exact_match=False, is_miss=True))
            continue
        failures = 0 if turn.is_correct else failures + 1
        result.append(turn)
    return result


def conversation_score(turns: Sequence[Turn]) -> float:
    """Return the mean points of one conversation (in order) after its early stop, from -1 to 1."""
    stopped = stop_early(turns)
    correct = sum(turn.is_correct for turn in stopped)
    miss = sum(turn.is_miss for turn in stopped)
    return correct / len(stopped) - (len(stopped) - correct - miss) / len(stopped)


def score_turns(turns: Sequence[Turn]) -> dict[str, dict[str, float]]:
    """Score all turns of an evaluation.

    Returns:
        The totals twice, since reports differ: ``before_early_stop`` counts the turns as they were answered,
        ``after_early_stop`` counts the turns after an early stop as misses. The mean conversation score, the
        same in both, always obeys the stop.

    Raises:
        ValueError: there is no turn.
    """
    if not turns:
        raise ValueError("there is no turn to score")
    sessions = sessions_of(turns)
    scores = [conversation_score(members) for members in sessions.values()]
    mean = math.fsum(scores) / len(scores)
    stopped = [turn for members in sessions.values() for turn in stop_early(members)]
    return {"before_early_stop": _totals(turns, mean), "after_early_stop": _totals(stopped, mean)}


def _totals(turns: Sequence[Turn], conversation_mean: float) -> dict[str, float]:
    total = len(turns)
    correct = sum(turn.is_correct for turn in turns)
    exact = sum(turn.is_exact_match for turn in turns)
    miss = sum(turn.is_miss for turn in turns)
    hallucination = total - correct - miss
    # The published function gives 0 for a single turn.
    truthfulness = (2 * correct + miss) / total - 1 if total > 1 else 0.0
    return {
        "total": float(total),
        "correct_exact": float(exact),
        "correct": float(correct),
        "miss": float(miss),
        "hallucination": float(hallucination),
        "exact_match": exact / total,
        "accuracy": correct / total,
        "missing": miss / total,
        "hallucination_rate": hallucination / total,
        "truthfulness_score": truthfulness,
        "mean_multi_turn_conversation_score": conversation_mean,
    }
