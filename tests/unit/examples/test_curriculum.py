"""One question through all epochs: which passages, in which order, which target."""

from dataclasses import replace
from typing import Any

from finetrail.chat.bundles import REFUSAL
from finetrail.examples.curriculum import Curriculum, Question, bundle, false_negatives, holds_answer, training_order

PLAN = Curriculum(epochs=4, gold_epochs=2, passages=4, hard_negatives=1, refuse_missing=1.0, most_words=None, seed=42)


def passage(name: str, text: str = "It is blue.") -> dict[str, Any]:
    return {"id": name, "title": name.title(), "text": text, "first": 0, "sentences": [[0, len(text)]]}


GOLD = [passage("first", "Arthur's Magazine began in 1844."), passage("second", "It began in 1989.")]
LEAK = passage("leak", "They say that Arthur's  magazine is old.")
HARD, EASY, LAST, MORE = (passage(name) for name in ("hard", "easy", "last", "more"))
QUESTION = Question(
    row_id="q",
    answer="Arthur's Magazine",
    facts=[("First", 0), ("Second", 0)],
    gold=GOLD,
    retrieved=[LEAK, HARD, GOLD[0], EASY, LAST, GOLD[1], MORE],
    ranked=[LEAK, EASY, GOLD[0], LAST, MORE, HARD],
)


def names(question: Question, epoch: int, plan: Curriculum = PLAN) -> list[str]:
    return [shown["id"] for shown in bundle(question, epoch, plan).passages]


def test_one_question_through_all_epochs() -> None:
    made = {epoch: bundle(QUESTION, epoch, PLAN) for epoch in (1, 2, 3, 4)}
    assert [one.phase for one in made.values()] == ["gold", "gold", "retrieved", "retrieved"]
    for epoch in (1, 2):  # gold, the negative that retrieval ranks best, then what the reranker found
        assert set(names(QUESTION, epoch)) == {"first", "second", "hard", "easy"}
        assert made[epoch].complete and not made[epoch].refused
        first, second = (names(QUESTION, epoch).index(name) + 1 for name in ("first", "second"))
        assert made[epoch].target == f"Arthur's Magazine [{first}.1] [{second}.1]"
    for epoch in (3, 4):  # what the reranker found, and nothing else: the second gold passage is missing
        assert set(names(QUESTION, epoch)) == {"easy", "first", "last", "more"}
        assert made[epoch].target == REFUSAL and made[epoch].refused and not made[epoch].complete
    assert len({tuple(names(QUESTION, epoch)) for epoch in (1, 2)}) == 2, "the order changes from epoch to epoch"
    assert {epoch: bundle(QUESTION, epoch, PLAN) for epoch in (1, 2, 3, 4)} == made


def test_where_gold_was_found_the_answer_stays_in_the_retrieved_phase() -> None:
    found = replace(QUESTION, ranked=[GOLD[1], EASY, GOLD[0], LAST])
    made = bundle(found, 3, PLAN)
    assert made.complete and not made.refused
    places = {shown["id"]: number for number, shown in enumerate(made.passages, start=1)}
    assert made.target == f"Arthur's Magazine [{places['first']}.1] [{places['second']}.1]"


def test_the_share_of_refusals_is_a_setting() -> None:
    never = bundle(QUESTION, 3, replace(PLAN, refuse_missing=0.0))
    place = [shown["id"] for shown in never.passages].index("first") + 1
    assert not never.refused and never.target == f"Arthur's Magazine [{place}.1]"
    half = replace(PLAN, refuse_missing=0.5)
    refused = sum(bundle(replace(QUESTION, row_id=f"q{n}"), 3, half).refused for n in range(400))
    assert 150 < refused < 250


def test_a_passage_that_holds_the_answer_is_no_negative() -> None:
    assert false_negatives(QUESTION) == [LEAK]
    assert all("leak" not in names(QUESTION, epoch) for epoch in (1, 2, 3, 4))
    assert holds_answer(LEAK, "the Arthur's Magazine.")
    assert not holds_answer(passage("x", "Yes, it is."), "yes")
    assert not holds_answer(passage("x", "magazine of Arthur"), "Arthur's Magazine")


def test_words_are_bounded_and_gold_goes_last() -> None:
    made = bundle(QUESTION, 1, replace(PLAN, most_words=10))
    assert {shown["id"] for shown in made.passages} == {"first", "second"} and made.too_long == 2


def test_every_epoch_has_an_order_of_its_own() -> None:
    ids = [f"q{number}" for number in range(20)]
    orders = [training_order(ids, epoch, 42) for epoch in (1, 2, 3)]
    assert all(sorted(order) == sorted(ids) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert training_order(ids[::-1], 1, 42) == orders[0]
