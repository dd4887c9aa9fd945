"""Ceilings a minute: what may be spent is spread evenly, so that no minute sees more, wherever it begins."""

import math
from fractions import Fraction

MINUTE_S = 60.0
CATCH_UP_S = 0.1


def part_of(ceiling: int, share: Fraction) -> int:
    """Return a job's part of a ceiling: a whole number, so that the parts together are no more, and no less than 1."""
    return max(1, math.floor(ceiling * share))


class Pace:
    """Spreads requests or tokens below a ceiling a minute.

    What was missed within the last tenth of a second (timers are not exact) may be caught up; the rate is lower
    for it, so that no minute exceeds the ceiling. What is spent before its price is known (tokens) may
    exceed it by the last call's.

    Args:
        per_minute: the ceiling.
    """

    def __init__(self, per_minute: float) -> None:
        self._each_s = (MINUTE_S + 2 * CATCH_UP_S) / per_minute
        self._free_at = float("-inf")

    def wait(self, now: float) -> float:
        """Return the seconds until something may be spent; 0 when it may be now."""
        return max(0.0, self._free_at - now)

    def spend(self, amount: float, now: float) -> None:
        """Count what is spent now."""
        self._free_at = max(self._free_at, now - CATCH_UP_S) + amount * self._each_s

    def correct(self, amount: float) -> None:
        """Count what had been spent beyond what was counted, or give back (below 0) what had not."""
        self._free_at += amount * self._each_s
