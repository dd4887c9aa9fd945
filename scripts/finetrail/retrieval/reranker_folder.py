"""The trained reranker's folder: which model ranks which question, and what it is shown."""

from finetrail.retrieval.search_index import Passage
from finetrail.rows.records import unit_interval

BASE = "base"
"""The untrained model."""
WHOLE = "whole"
"""The model that learned from all train questions: it ranks every other question, and is the one to deploy."""


def fold_of(group: str, folds: int, seed: int) -> int:
    """Return the fold of a group of train questions."""
    return int(unit_interval("reranker fold", seed, group) * folds)


def without(fold: int) -> str:
    """Name the model that learned from the train questions of all folds but one."""
    return f"without{fold}"


def model_for(split: str, group: str, folds: int, seed: int) -> str:
    """Name the model that ranks a record's candidates: for a train record one that did not learn from its group."""
    return without(fold_of(group, folds, seed)) if split == "train" else WHOLE


def pair_text(passage: Passage) -> str:
    """Return what a cross-encoder reads of a passage."""
    return f"{passage['title']}. {passage['text']}" if passage["title"] else str(passage["text"])
