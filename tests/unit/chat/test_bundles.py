import pytest

from finetrail.chat.bundles import (
    Citation,
    Shown,
    bundle_turn,
    cite,
    cited_facts,
    evidence_of,
    holds_support,
    is_refusal,
    numbered_text,
    read_reply,
    shorten,
    target_text,
)

PAGE = {
    "title": "Arthur's Magazine",
    "text": "Founded in 1844. It ended.",
    "first": 2,
    "sentences": [[0, 16], [17, 26]],
}
SHOWN = [Shown("First for Women", 0, 3), Shown("Arthur's Magazine", 2, 2)]


def test_the_prompt_counts_from_one_and_ends_with_the_answer_tag() -> None:
    turn = bundle_turn(" Which came first? ", [evidence_of(PAGE)])
    assert turn.startswith(
        "[Question]\nWhich came first?\n\n[Evidence]\n[1] Arthur's Magazine: (1) Founded in 1844. (2) It"
    )
    assert 'If unsure, say "insufficient context".' in turn
    assert turn.endswith("\n\n<answer>")
    assert numbered_text({"title": "t", "text": "whole"}) == "(1) whole"


def test_citations_name_shown_sentences_and_lead_back_to_the_facts() -> None:
    facts = [("Arthur's Magazine", 3), ("First for Women", 0), ("Arthur's Magazine", 0), ("Elsewhere", 0)]
    citations = cite(SHOWN, facts)
    assert citations == [Citation(2, 2), Citation(1, 1)]
    assert target_text("Arthur's Magazine", citations) == "Arthur's Magazine [2.2] [1.1]"
    assert cited_facts(citations, SHOWN) == [("Arthur's Magazine", 3), ("First for Women", 0)]
    assert cited_facts([Citation(3, 1), Citation(1, 4), Citation(0, 1), Citation(1, None)], SHOWN) == []


@pytest.mark.parametrize(
    ("reply", "answer", "citations"),
    [
        ("Arthur's Magazine [2.1] [1]", "Arthur's Magazine", [(2, 1), (1, None)]),
        ("<answer> 1,844 people [1.2], [1.2].\nMore text [3]", "1,844 people", [(1, 2)]),
        ("Paris[1], and Rome [2.1]", "Paris , and Rome", [(1, None), (2, 1)]),
        ("insufficient context", "insufficient context", []),
        ("", "", []),
        ("[1.1]", "", [(1, 1)]),
    ],
)
def test_replies_are_parted(reply: str, answer: str, citations: list[tuple[int, int | None]]) -> None:
    assert read_reply(reply)[1] == [Citation(*citation) for citation in citations]
    assert read_reply(reply)[0].rstrip(".").rstrip(" ,") == answer


def test_what_a_citation_holds() -> None:
    gold = {("Arthur's Magazine", 3)}
    assert holds_support(Citation(2, 2), SHOWN, gold) and holds_support(Citation(2, None), SHOWN, gold)
    assert not any(holds_support(Citation(*c), SHOWN, gold) for c in ((2, 1), (1, None), (7, 1), (2, 9)))


def test_refusals() -> None:
    assert is_refusal("Insufficient context.") and not is_refusal("context")


def test_a_row_that_is_too_long_loses_what_it_does_not_cite_first() -> None:
    evidence = [evidence_of(PAGE | {"title": name}) for name in "abc"]
    left, target = shorten(evidence, "x [3.1] [1.2]")
    assert [item["title"] for item in left] == ["a", "c"] and target == "x [2.1] [1.2]"
    left, target = shorten(left, target)
    assert [item["title"] for item in left] == ["a"] and target == "x [1.2]"
    assert shorten(left, target) == ([], "x")
