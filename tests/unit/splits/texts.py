"""Made-up texts whose similarity is known."""

import random

WORDS = [f"{a}{b}{c}" for a in "bdfgkl" for b in "aeiou" for c in "mnprst"]


def text_of(seed: object, words: int = 60) -> str:
    """Return a made-up text; another seed gives one that shares no run of words with it, but by chance."""
    return " ".join(random.Random(f"text {seed}").choices(WORDS, k=words))


def changed(text: str, at: int = 30) -> str:
    """Return the text with one word changed: of 56 runs of five words, five differ, Jaccard 51/61."""
    words = text.split()
    words[at] = "otherwise"
    return " ".join(words)
