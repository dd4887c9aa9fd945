"""Grade a reply to a multi-hop question: official scores, what its citations hold, whether it refused rightly."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetrail.chat.bundles import Shown, cite, cited_facts, holds_support, is_refusal, read_reply
from finetrail.metrics.hop_score import Overlap, Scored, average, join, score_answer, score_facts
from finetrail.rows.records import Row

SUPPORTED = 0.9
"""Share of an answer's citations that must hold a gold supporting sentence, for it to count as supported."""


def grade_reply(reply: str, answer: str, hops: Mapping[str, Any]) -> Row:
    """Grade one reply.

    Args:
        reply: what the model said, citations and all.
        answer: the gold answer.
        hops: of the row: ``supporting_facts``, and the pages that were ``shown``.

    Returns:
        ``answer`` and ``facts`` as they are scored; ``em``, ``f1``, ``precision``, ``recall`` of the answer, of the
        facts (``sp_``) and of both (``joint_``); ``citations``, how many of them hold support, and whether the
        answer is supported; ``refused``, and whether all support was shown (``complete``).
    """
    shown = [Shown(*page) for page in hops["shown"]]
    gold = {(str(title), int(number)) for title, number in hops["supporting_facts"]}
    said, citations = read_reply(reply)
    facts = cited_facts(citations, shown)
    right = sum(holds_support(citation, shown, gold) for citation in citations)
    refused = is_refusal(said)
    scores = {"": score_answer(said, answer), "sp_": score_facts(facts, gold)}
    scores["joint_"] = join(scores[""], scores["sp_"])
    return {
        "answer": said,
        "facts": [list(fact) for fact in facts],
        **{f"{prefix}{name}": value for prefix, one in scores.items() for name, value in one._asdict().items()},
        "citations": len(citations),
        "right_citations": right,
        "supported": bool(citations) and not refused and right >= SUPPORTED * len(citations),
        "refused": refused,
        "complete": len(cite(shown, gold)) == len(gold),
    }


def summarise(grades: Sequence[Row]) -> Row:
    """Average the grades of one model in one condition.

    Returns:
        the twelve official figures; ``supported_answers`` (of the answers that are no refusal), ``citation_precision``
        (of all citations), both None where there is none; and the counts of refusals, right where a supporting fact was
        not shown.
    """
    answered = [grade for grade in grades if not grade["refused"]]
    cited = sum(grade["citations"] for grade in grades)
    official = average([_scored(grade) for grade in grades])
    return {
        "questions": len(grades),
        **{name: round(value, 12) for name, value in official.items()},
        "supported_answers": _share(sum(grade["supported"] for grade in answered), len(answered)),
        "citation_precision": _share(sum(grade["right_citations"] for grade in grades), cited),
        "citations": cited,
        "refusals": {
            "right": sum(grade["refused"] and not grade["complete"] for grade in grades),
            "wrong": sum(grade["refused"] and grade["complete"] for grade in grades),
            "missed": sum(not grade["refused"] and not grade["complete"] for grade in grades),
        },
    }


def _scored(grade: Row) -> Scored:
    parts = [Overlap(*(grade[f"{prefix}{name}"] for name in Overlap._fields)) for prefix in ("", "sp_")]
    return Scored(*parts)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
