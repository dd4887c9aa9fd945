"""What a student says when it searches: queries, one a line, and the numbers of the passages that it chooses."""

import pytest

from finetrail.chat.layouts import without_a_passage
from finetrail.chat.messages import Evidence
from finetrail.chat.student_tasks import CHOICE, choice_text, queries_text, read_choice, read_queries


def test_queries_come_back_as_they_were_laid_out() -> None:
    queries = ["age of the bridge", "Rialto bridge  built"]
    assert read_queries(queries_text(queries), 5) == ["age of the bridge", "Rialto bridge built"]
    assert queries_text(["two\nlines"]) == "two lines", "a line break would make two queries of it"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("", []), (" \n\n", []), ("a\na\n b \nc\nd", ["a", "b", "c"]), ("one query", ["one query"])],
)
def test_the_first_distinct_lines_of_a_reply_are_queries(reply: str, expected: list[str]) -> None:
    assert read_queries(reply, 3) == expected


@pytest.mark.parametrize("numbers", [[], [1], [2, 5], [1, 2, 3]])
def test_a_choice_comes_back_as_it_was_laid_out(numbers: list[int]) -> None:
    assert read_choice(choice_text(numbers), 5) == numbers


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("[3] and [1]", [1, 3]),
        ("2, 2", [2]),
        ("None.", []),
        ("None of them helps", []),
        ("none, or 4", [4]),
        ("0, 6, 99", None),
        ("the first", None),
        ("", None),
        ("nonetheless", None),
    ],
)
def test_other_replies_are_read_or_said_to_be_unreadable(reply: str, expected: list[int] | None) -> None:
    assert read_choice(reply, 5) == expected


@pytest.mark.parametrize(("target", "left"), [("1, 3", "1"), ("3", "none"), ("1, 2", "1, 2"), ("none", "none")])
def test_a_choice_does_not_name_a_passage_that_is_shown_no_more(target: str, left: str) -> None:
    evidence = [Evidence(title=str(number), text="t") for number in (1, 2, 3)]
    assert without_a_passage({"kind": CHOICE}, evidence, target) == (evidence[:2], left)
    assert without_a_passage({}, evidence, target) == (evidence[:2], target), "an answer stays as it is"
