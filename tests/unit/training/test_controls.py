"""The controls: shuffled targets and the unigram model."""

import math
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.examples.choices import read_answer
from finetrail.inference.unigram import Unigram
from finetrail.models.masks import IGNORED, Example
from finetrail.training.shuffle import shuffle_targets


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(1, 1), (3, 1, 2), (4, 2, 1, 1), (5, 5)])
def test_no_target_stays_in_its_session(sizes: tuple[int, ...], seed: int) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": f"{session}-{turn}",
            "session_id": str(session),
            "messages": [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": f"{session} {turn}"},
            ],
        }
        for turn in range(max(sizes))
        for session, size in enumerate(sizes)
        if turn < size
    ]
    shuffled = shuffle_targets(rows, seed)
    targets = [row["messages"][-1]["content"] for row in shuffled]
    assert sorted(targets) == sorted(row["messages"][-1]["content"] for row in rows)
    assert all(target.split()[0] != row["session_id"] for target, row in zip(targets, rows, strict=True))
    assert [row["id"] for row in shuffled] == [row["id"] for row in rows]
    assert shuffled == shuffle_targets(rows, seed)


def test_each_task_of_a_student_is_shuffled_by_itself() -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": f"{session}-{task}",
            "session_id": str(session),
            **({} if task is None else {"kind": task}),
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": f"{task} {session}"}],
        }
        for session in range(6)
        for task in (None, "search_query", "passage_choice")
    ]
    for row, shuffled in zip(rows, shuffle_targets(rows, 42), strict=True):
        task, session = shuffled["messages"][-1]["content"].split()
        assert task == str(row.get("kind")) and session != row["session_id"]


def test_of_a_choice_the_label_moves_and_the_rest_stays() -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": str(number),
            "session_id": str(number),
            "choice": {"kind": "letter", "options": [f"a{number}", f"b{number}", f"c{number}"], "key": number % 3},
            "messages": [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": f"Reasoning: {number}\n\nReflection: NO\n\nAnswer: gold"},
            ],
        }
        for number in range(30)
    ]
    changed = 0
    for row, shuffled in zip(rows, shuffle_targets(rows, 42), strict=True):
        head, _, answer = shuffled["messages"][-1]["content"].rpartition("Answer: ")
        assert head == f"Reasoning: {row['id']}\n\nReflection: NO\n\n"
        index = read_answer(answer, row["choice"])
        changed += index != row["choice"]["key"]
        assert shuffled["messages"][:-1] == row["messages"][:-1]
    assert 10 <= changed < 30


def test_one_session_cannot_be_shuffled(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(FinetrailError, match="cannot all go elsewhere"):
        shuffle_targets([row for row in rows if row["session_id"] == "s0"], 1)


def test_unigram_sums_to_one_and_counts() -> None:
    model = Unigram([[1, 1, 2]], vocabulary_size=5)
    assert math.isclose(math.fsum(math.exp(-model.nats(token)) for token in range(5)), 1.0)
    assert math.isclose(model.nats(1), math.log(8 / 3))
    (loss,) = model.answer_loss([Example("a", [4, 1, 3], [IGNORED, 1, 3], 0)])
    assert loss.tokens == 2 and math.isclose(loss.nats, math.log(8 / 3) + math.log(8))
