"""Scores of answers to multi-hop questions with their supporting facts, as the benchmark's own script defines them.

Source: ``hotpot_evaluate_v1.py`` of HotpotQA (Yang et al., EMNLP 2018, arXiv:1809.09600). Answers are compared as in
`finetrail.metrics.answer_overlap`, supporting facts as sets of (title, sentence number). Vectors of that script are
matched to 1e-12; where it crashes, an error says what is missing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from finetrail.errors import FinetrailError
from finetrail.rows.problems import Problems
from finetrail.text.answer_words import normal

CLOSED = frozenset({"yes", "no", "noanswer"})
"""Answers that give no part of a point to another answer, whatever words they share."""


class Overlap(NamedTuple):
    """How well one set covers another: exact match, F1, precision, recall, each from 0 to 1."""

    em: float
    f1: float
    precision: float
    recall: float


NOTHING = Overlap(0.0, 0.0, 0.0, 0.0)


def score_answer(answer: str, gold: str) -> Overlap:
    """Compare an answer with the gold one.

    Two answers without any word that counts match exactly and have an F1 of 0.
    """
    mine, theirs = normal(answer), normal(gold)
    em = float(mine == theirs)
    closed = {" ".join(mine), " ".join(theirs)} & CLOSED
    shared = (Counter(mine) & Counter(theirs)).total()
    if not shared or (closed and not em):
        return NOTHING._replace(em=em)
    precision, recall = shared / len(mine), shared / len(theirs)
    return Overlap(em, 2 * precision * recall / (precision + recall), precision, recall)


def score_facts(facts: Iterable[Sequence[Any]], gold: Iterable[Sequence[Any]]) -> Overlap:
    """Compare two sets of supporting facts, ``[title, sentence number]`` each; two empty ones have an F1 of 0."""
    mine, theirs = ({tuple(fact) for fact in side} for side in (facts, gold))
    shared = len(mine & theirs)
    precision = shared / len(mine) if mine else 0.0
    recall = shared / len(theirs) if theirs else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return Overlap(float(mine == theirs), f1, precision, recall)


def join(answer: Overlap, facts: Overlap) -> Overlap:
    """Return the joint score: precision and recall are products, and so is the exact match."""
    precision, recall = answer.precision * facts.precision, answer.recall * facts.recall
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return Overlap(answer.em * facts.em, f1, precision, recall)


@dataclass(frozen=True)
class Scored:
    """One question's scores; None where the prediction has no such part, which then adds 0."""

    answer: Overlap | None
    facts: Overlap | None

    @property
    def joint(self) -> Overlap | None:
        """The joint score, where there are both parts."""
        return None if self.answer is None or self.facts is None else join(self.answer, self.facts)


# What the benchmark's own script calls its twelve figures.
_PARTS = {"": "answer", "sp_": "facts", "joint_": "joint"}
_FIELDS = {"em": "em", "f1": "f1", "prec": "precision", "recall": "recall"}


def average(scored: Sequence[Scored]) -> dict[str, float]:
    """Average over all questions, unanswered ones too: ``em``, ``f1``, ``prec``, ``recall``, ``sp_…``, ``joint_…``.

    Raises:
        FinetrailError: there is no question.
    """
    if not scored:
        raise FinetrailError("there is no gold question to score", hint="Is this the right gold file?")
    return {
        f"{prefix}{short}": sum(getattr(getattr(one, part) or NOTHING, field) for one in scored) / len(scored)
        for prefix, part in _PARTS.items()
        for short, field in _FIELDS.items()
    }


def score_question(gold: Mapping[str, Any], answers: Mapping[str, str], facts: Mapping[str, Any]) -> Scored:
    """Score one question of a prediction file that was checked (`check_prediction`)."""
    name = gold["_id"]
    return Scored(
        score_answer(answers[name], gold["answer"]) if name in answers else None,
        score_facts(facts[name], gold["supporting_facts"]) if name in facts else None,
    )


def check_prediction(prediction: Any, where: str) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Return ``answer`` and ``sp`` of a prediction file.

    Raises:
        FinetrailError: a key is missing, or entries are of another kind; it lists them all (20 in full).
    """
    hint = 'A prediction file is {"answer": {id: text}, "sp": {id: [[title, sentence number], ...]}}'
    found = prediction if isinstance(prediction, dict) else {}
    if missing := [key for key in ("answer", "sp") if not isinstance(found.get(key), dict)]:
        named = " and ".join(f"`{key}`" for key in missing)
        raise FinetrailError(f"{named} missing, or no object by question id", where=where, hint=hint)
    problems = Problems("predictions")
    for name, answer in found["answer"].items():
        if not isinstance(answer, str):
            problems.add(f"{where} ({name})", f"the answer is {type(answer).__name__}, expected a text")
    for name, facts in found["sp"].items():
        if not are_facts(facts):
            problems.add(f"{where} ({name})", "the supporting facts are no list of [title, sentence number]")
    problems.raise_any(hint)
    return found["answer"], found["sp"]


def check_gold(row: Mapping[str, Any]) -> list[str]:
    """Say what a gold row lacks for being scored; nothing where it is whole."""
    causes = [f"`{name}` is missing or no text" for name in ("_id", "answer") if not isinstance(row.get(name), str)]
    if not are_facts(row.get("supporting_facts")):
        causes.append("`supporting_facts` is no list of [title, sentence number]")
    return causes


def are_facts(value: Any) -> bool:
    """Say whether a value is a list of pairs of a title and a number (text numbers match nothing, but are allowed)."""
    pairs = isinstance(value, list) and all(isinstance(fact, list) and len(fact) == 2 for fact in value)
    return pairs and all(isinstance(part, str | int | float) for fact in value for part in fact)
