"""How a question and what is shown with it become the user's turn, by the layout that the row names."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetrail.chat.bundles import bundle_turn, shorten
from finetrail.chat.messages import Evidence, user_turn
from finetrail.chat.student_tasks import CHOICE, without_passage

BUNDLE = "bundle"


def turn_of(row: Mapping[str, Any], evidence: Sequence[Evidence]) -> str:
    """Lay out the last user turn of a row with some of its evidence."""
    lay_out = bundle_turn if row.get("layout") == BUNDLE else user_turn
    return lay_out(str(row["question"]), evidence)


def without_a_passage(
    row: Mapping[str, Any], evidence: Sequence[Evidence], target: str
) -> tuple[Sequence[Evidence], str]:
    """Leave a passage out of the evidence, so that a row fits: the last one; of a bundle the last that is not cited.

    Returns:
        what is left, and the target, whose citations follow; a choice no longer names what is not shown.
    """
    if row.get("layout") == BUNDLE:
        return shorten(evidence, target)
    left = evidence[:-1]
    return left, without_passage(target, len(evidence)) if row.get("kind") == CHOICE else target
