"""How long one waits before the next try, and after how many failures nothing is expected any more."""

import random

from finetrail.rows.records import derive_seed

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
HOPELESS = 20


def jitter_of(key: str, tried: int) -> float:
    """Return a number from 0 to 1 that a request's key and the number of its tries decide."""
    return random.Random(derive_seed(key, tried)).random()


def backoff_s(key: str, tried: int) -> float:
    """Return the seconds to wait after so many tries: twice as long each time, with a jitter."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tried - 1, 10)) * (0.5 + 0.5 * jitter_of(key, tried))
