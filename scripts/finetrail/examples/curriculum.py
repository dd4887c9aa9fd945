"""The curriculum of training bundles: what a question is shown in each epoch, in which order, and what it is to say.

In the first epochs gold passages are always there, with hard negatives and what was retrieved; later only what was
retrieved, as when the model is deployed: gold may be missing then, and the target may be the refusal.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetrail.chat.bundles import REFUSAL, Fact, Shown, cite, target_text
from finetrail.rows.records import derive_seed, unit_interval
from finetrail.text.answer_words import normal

Passage = Mapping[str, Any]
CLOSED = ({"yes"}, {"no"})


@dataclass(frozen=True)
class Curriculum:
    """How bundles are made.

    Attributes:
        epochs: passes over the questions, each with bundles of its own.
        gold_epochs: how many of them, the first ones, always show the gold passages.
        passages: passages of a bundle.
        hard_negatives: of these, most that are chosen for their retrieval score (gold epochs).
        refuse_missing: share of the questions that are to be refused where a gold passage is missing.
        most_words: words of a bundle's passages; the last chosen ones go. None for no bound.
        seed: of the orders, and of what is refused.
    """

    epochs: int
    gold_epochs: int
    passages: int
    hard_negatives: int
    refuse_missing: float
    most_words: int | None
    seed: int


@dataclass(frozen=True)
class Question:
    """A question, what supports its answer, and what was found for it.

    Attributes:
        row_id: of the record.
        answer: the gold answer.
        facts: the gold supporting facts.
        gold: passages that hold one of them, in the order of the facts.
        retrieved: other passages and gold ones, best first by the retriever: negatives are hard by that.
        ranked: the same or fewer, best first by the reranker, whose scores are out of fold.
    """

    row_id: str
    answer: str
    facts: Sequence[Fact]
    gold: Sequence[Passage]
    retrieved: Sequence[Passage]
    ranked: Sequence[Passage]


@dataclass(frozen=True)
class Bundle:
    """What a question is shown in an epoch (counted from 1).

    Attributes:
        phase: ``gold`` or ``retrieved``.
        passages: in the order in which they are shown.
        target: the answer with its citations, or the refusal.
        refused: whether it is the refusal.
        complete: whether every supporting fact is shown.
        too_long: passages that were left out, so that the words fit.
    """

    epoch: int
    phase: str
    passages: Sequence[Passage]
    target: str
    refused: bool
    complete: bool
    too_long: int = field(default=0)


def holds_answer(passage: Passage, answer: str) -> bool:
    """Say whether a passage holds an answer, word by word; yes and no are in no passage."""
    wanted = normal(answer)
    if not wanted or set(wanted) in CLOSED:
        return False
    words = normal(f"{passage['title']} {passage['text']}")
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words) - len(wanted) + 1))


def false_negatives(question: Question) -> list[Passage]:
    """Return the passages that are not gold and hold the gold answer: no bundle may show one as a negative."""
    gold = {passage["id"] for passage in question.gold}
    others = {p["id"]: p for p in (*question.retrieved, *question.ranked) if p["id"] not in gold}
    return [passage for passage in others.values() if holds_answer(passage, question.answer)]


def bundle(question: Question, epoch: int, plan: Curriculum) -> Bundle:
    """Make the bundle of a question in an epoch."""
    barred = {passage["id"] for passage in false_negatives(question)}
    gold_phase = epoch <= plan.gold_epochs
    chosen = _with_gold(question, barred, plan) if gold_phase else _retrieved(question, barred, plan)
    fitting = within_words(chosen, plan.most_words)
    shown = list(fitting)
    random.Random(derive_seed("bundle", plan.seed, question.row_id, epoch)).shuffle(shown)
    citations = cite([Shown.of(passage) for passage in shown], question.facts)
    complete = len(citations) == len(set(question.facts))
    drawn = unit_interval("refuse", plan.seed, question.row_id, epoch)
    refused = not gold_phase and not complete and drawn < plan.refuse_missing
    target = REFUSAL if refused else target_text(question.answer, citations)
    phase = "gold" if gold_phase else "retrieved"
    return Bundle(epoch, phase, shown, target, refused, complete, len(chosen) - len(fitting))


def _with_gold(question: Question, barred: set[str], plan: Curriculum) -> list[Passage]:
    """Gold first, then hard negatives by retrieval score, then what the reranker found."""
    chosen = {passage["id"]: passage for passage in question.gold}
    negatives = [p for p in question.retrieved if p["id"] not in chosen and p["id"] not in barred]
    chosen |= {passage["id"]: passage for passage in negatives[: plan.hard_negatives]}
    chosen |= {p["id"]: p for p in question.ranked if p["id"] not in barred and p["id"] not in chosen}
    return list(chosen.values())[: max(plan.passages, len(question.gold))]


def _retrieved(question: Question, barred: set[str], plan: Curriculum) -> list[Passage]:
    return [passage for passage in question.ranked if passage["id"] not in barred][: plan.passages]


def within_words(chosen: Sequence[Passage], most: int | None) -> Sequence[Passage]:
    """Return the first passages whose words fit together; the first one always does."""
    words = 0
    for place, passage in enumerate(chosen):
        words += len(passage["text"].split())
        if most is not None and words > most and place:
            return chosen[:place]
    return chosen


def training_order(row_ids: Sequence[str], epoch: int, seed: int) -> list[str]:
    """Return the order of the questions in an epoch."""
    order = sorted(row_ids)
    random.Random(derive_seed("epoch", seed, epoch)).shuffle(order)
    return order
