"""Parity is checked on rows of every kind that the exported model can be asked, and on its own prompts."""

from typing import Any

from finetrail.chat.messages import Evidence, chat_messages, whole_messages
from finetrail.export.ollama_folder import CONVERSATIONS, fitting, parity_conversations, parity_rows
from finetrail.rows.records import Row


def row(kind: str, number: int, **more: Any) -> Row:
    question = f"Q{number}?"
    evidence = [Evidence(title="T", text="one"), Evidence(title="T", text="two")]
    made: Row = {"id": f"{kind}{number}", "kind": kind, "question": question, "answer": "A.", "history": []}
    return made | {"evidence": evidence, "messages": chat_messages("", [], question, evidence, "A.")} | more


def whole(kind: str, number: int) -> Row:
    messages = whole_messages("", [], f"Q{number}?", "A.")
    return row(kind, number, evidence=[], messages=messages)


def test_the_first_of_each_kind_are_taken_in_turn() -> None:
    rows = [row("a", number) for number in range(20)] + [row("b", 0), row("b", 1)]
    assert [one["id"] for one in parity_rows(iter(rows))] == ["a0", "b0", "a1", "b1", "a2", "a3", "a4", "a5"]
    assert len(parity_rows(rows[:3])) == 3


def test_tasks_that_are_shown_an_image_before_the_prompt_are_passed_over() -> None:
    rows = [whole(kind, number) for number in range(CONVERSATIONS) for kind in ("caption", "summary", "link")]
    rows.append(whole("text_summary", 0))
    kinds = [one["kind"] for one in parity_rows(rows)]
    assert kinds.count("link") == CONVERSATIONS - 1 and kinds.count("text_summary") == 1


def test_a_prompt_that_is_shown_as_it_is_is_compared_so() -> None:
    asked, prompted = parity_conversations([row("a", 1), whole("link", 2)], "")
    assert asked[0]["content"] == "[1] T: one\n\nQuestion: Q1?", "one passage is enough"
    assert prompted[0]["content"] == "Q2?"


def test_a_prompt_that_is_too_long_loses_its_last_pieces_as_in_training() -> None:
    parts = {"captions": [f"- c{number}: red in the north." for number in range(9)]}
    task = whole("text_summary", 0) | {"task": {"parts": parts, "cond_name": "scp"}}
    shown = fitting(task, lambda text: len(text.split()), 30)
    assert 0 < shown["question"].count("- c") < 9 and len(shown["question"].split()) <= 30
    (conversation,) = parity_conversations([shown], "")
    assert [message["content"] for message in conversation] == [shown["question"], "A."]
    assert fitting(row("a", 1), len, 0) == row("a", 1), "other rows stay"
