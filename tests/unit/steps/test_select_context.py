"""What an answer depends on: questions are the same only with the same history, beside the same image."""

from typing import Any

from synthesize.select_answers import context_of


def record(**changes: Any) -> dict[str, Any]:
    return {"question": "What is this?", "history": [], "image": {"path": "a.png", "sha256": "aa"}} | changes


def test_the_same_question_beside_another_image_is_another_question() -> None:
    assert context_of(record()) == context_of(record(image={"path": "copy of a.png", "sha256": "aa"}))
    others = [
        record(image={"path": "b.png", "sha256": "bb"}),
        record(image=None),
        record(history=[{"role": "user", "content": "Look!"}]),
        record(question="Who is this?"),
    ]
    assert len({context_of(row) for row in [record(), *others]}) == 5
