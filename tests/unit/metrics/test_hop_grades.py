from typing import Any

from finetrail.metrics.hop_grades import grade_reply, summarise

HOPS: dict[str, Any] = {
    "supporting_facts": [["Arthur's Magazine", 0], ["First for Women", 1]],
    "shown": [["First for Women", 0, 2], ["Arthur's Magazine", 0, 3]],
}
LOST = HOPS | {"shown": [["Arthur's Magazine", 0, 3]]}


def test_a_right_answer_with_its_citations() -> None:
    grade = grade_reply("Arthur's Magazine [2.1] [1.2]", "Arthur's Magazine", HOPS)
    assert (grade["em"], grade["f1"], grade["sp_em"], grade["joint_f1"]) == (1, 1, 1, 1)
    assert (grade["citations"], grade["right_citations"], grade["supported"]) == (2, 2, True)
    assert grade["complete"] and not grade["refused"]


def test_a_wrong_citation_takes_the_support() -> None:
    grade = grade_reply("Arthur's Magazine [2.1] [1.1]", "Arthur's Magazine", HOPS)
    assert (grade["em"], grade["sp_em"], grade["right_citations"], grade["supported"]) == (1, 0, 1, False)
    assert grade_reply("Arthur's Magazine", "Arthur's Magazine", HOPS)["supported"] is False


def test_refusals_are_right_where_support_was_not_shown() -> None:
    replies = [
        ("insufficient context", HOPS),
        ("Insufficient context.", LOST),
        ("Arthur's Magazine [1.1]", LOST),
        ("Paris [2.2]", HOPS),
    ]
    scores = summarise([grade_reply(reply, "Arthur's Magazine", hops) for reply, hops in replies])
    assert scores["refusals"] == {"right": 1, "wrong": 1, "missed": 1}
    assert (scores["questions"], scores["em"]) == (4, 0.25)
    assert (scores["citations"], scores["citation_precision"], scores["supported_answers"]) == (2, 0.5, 0.5)


def test_where_all_is_refused_no_share_is_made_up() -> None:
    scores = summarise([grade_reply("insufficient context", "x", HOPS)])
    assert scores["supported_answers"] is None and scores["citation_precision"] is None
