"""Exact match and token F1 of short answers, as question answering reports them.

Source: Rajpurkar et al. 2016 (arXiv:1606.05250), section 6.1: case, punctuation and articles do not count.
"""

from collections import Counter

from finetrail.text.answer_words import normal


def exact_match(answer: str, gold: str) -> float:
    """Return 1 where both say the same, else 0."""
    return float(normal(answer) == normal(gold))


def token_f1(answer: str, gold: str) -> float:
    """Return the harmonic mean of precision and recall over words; 1 for two answers without any word."""
    mine, theirs = normal(answer), normal(gold)
    if not mine or not theirs:
        return float(mine == theirs)
    shared = (Counter(mine) & Counter(theirs)).total()
    return 2 * shared / (len(mine) + len(theirs))
