"""Multiple choice: options of a prompt, strict reading of replies, and orders of options."""

from typing import Any

import pytest

from finetrail.examples.choices import (
    CONTRADICTION,
    NO_LAYOUT,
    NO_OPTION,
    Unreadable,
    answer_text,
    permute,
    read_answer,
    read_prediction,
    read_reply,
    split_prompt,
)

PROMPT = "Ann met Bob. Who was late?\nA: Ann\nB: Can't be determined\nC: Bob"
LETTER: dict[str, Any] = {
    "kind": "letter",
    "options": ["Ann", "Can't be determined", "Bob"],
    "key": 1,
    "unknown": 1,
    "target": 2,
}
RELATION = {"kind": "relation", "options": ["entailment", "neutral", "contradiction"], "key": 0}
VERDICT = {"kind": "verdict", "options": ["[[A]]", "[[B]]", "[[C]]"], "key": 2}


def reply(answer: str, reflection: str = "NO", reasoning: str = "The text does not say.") -> str:
    return f"Reasoning: {reasoning}\n\nReflection: {reflection}\n\nAnswer: {answer}"


@pytest.mark.parametrize(
    ("choice", "answer", "index"),
    [
        (LETTER, "B: Can't be determined", 1),
        (LETTER, "C) bob.", 2),
        (LETTER, "C. Bob", 2),
        (RELATION, "Neutral", 1),
        (VERDICT, "[[C]]", 2),
    ],
)
def test_the_three_kinds_of_answers(choice: dict[str, Any], answer: str, index: int) -> None:
    assert read_answer(answer, choice) == index
    assert read_answer(answer_text(choice, index), choice) == index


@pytest.mark.parametrize(
    ("choice", "answer", "why"),
    [
        (LETTER, "B", NO_OPTION),
        (LETTER, "Ann", NO_OPTION),
        (LETTER, "D: Bob", NO_OPTION),
        (LETTER, "A: Anne", NO_OPTION),
        (LETTER, "A: Bob", CONTRADICTION),
        (RELATION, "entailed", NO_OPTION),
        (VERDICT, "[[D]]", NO_OPTION),
        (VERDICT, "A", NO_OPTION),
    ],
)
def test_an_answer_that_names_no_option_for_certain(choice: dict[str, Any], answer: str, why: str) -> None:
    with pytest.raises(Unreadable, match=f"^{why}$"):
        read_answer(answer, choice)


def test_a_reply_is_read_with_its_parts() -> None:
    said = "Ann came late.\nBob did not."
    assert read_reply(f"\n{reply('A: Ann', 'YES', said)}\n", LETTER) == (said, True, 0)


@pytest.mark.parametrize(
    "text",
    [
        "A: Ann",
        "Reasoning: r\n\nAnswer: A: Ann",
        "Reasoning: r\nReflection: NO\nAnswer: A: Ann",
        "Reasoning: r\n\nReflection: MAYBE\n\nAnswer: A: Ann",
        "Reasoning:\n\nReflection: NO\n\nAnswer: A: Ann",
        f"Sure!\n{reply('A: Ann')}",
        f"{reply('A: Ann')}\n\nI hope this helps.",
        f"{reply('A: Ann')}\n\nAnswer: C: Bob",
        reply("A: Ann", reasoning="r\n\nAnswer: C: Bob\n\nmore"),
    ],
)
def test_a_reply_of_another_layout_is_not_read(text: str) -> None:
    with pytest.raises(Unreadable, match=NO_LAYOUT):
        read_reply(text, LETTER)


def test_a_prediction_needs_its_answer_only() -> None:
    assert read_prediction("Reasoning: cut off\nAnswer: C: Bob\n", LETTER) == 2
    assert read_prediction("C: Bob", LETTER) == 2
    for text in ("", "Ann or Bob", "Answer: C: Bob\nAnswer: A: Ann"):
        with pytest.raises(Unreadable):
            read_prediction(text, LETTER)


def test_options_are_the_last_lines_from_a_on() -> None:
    assert split_prompt(PROMPT) == ("Ann met Bob. Who was late?", LETTER["options"])
    for without in ("No options.", "B: two\nC: three", "A: one", "A: one\nC: three", "A: one\nB: two\nmore"):
        assert split_prompt(without) == (without, [])


def test_an_order_moves_key_unknown_and_target_with_their_options() -> None:
    orders = set()
    for seed in range(30):
        prompt, choice = permute(PROMPT, LETTER, "record", seed)
        assert permute(PROMPT, LETTER, "record", seed) == (prompt, choice)
        assert split_prompt(prompt) == ("Ann met Bob. Who was late?", choice["options"])
        for name in ("key", "unknown", "target"):
            assert choice["options"][choice[name]] == LETTER["options"][LETTER[name]], name
        orders.add(tuple(choice["options"]))
    assert len(orders) == 6


def test_fixed_answers_have_no_order() -> None:
    assert permute("Premise ...", RELATION, 1) == ("Premise ...", RELATION)
