"""How far two judges agree on the same items: share, Cohen's kappa, and the table of their verdicts."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

from finetrail.rows.records import round_score


def cohen_kappa(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Return Cohen's kappa (Cohen 1960): agreement beyond chance, 1 at most; None where chance explains all.

    It is not defined where both judges give every item one and the same verdict, or where there is no item.
    """
    from sklearn.metrics import cohen_kappa_score

    if not first:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the case that is not defined, which is told by NaN as well
        kappa = float(cohen_kappa_score(first, second))
    return round_score(kappa) if math.isfinite(kappa) else None


def agreement(first: Sequence[bool], second: Sequence[bool]) -> dict[str, Any]:
    """Compare two judges' yes and no on the same items, in the same order."""
    counts = {
        f"{'yes' if one else 'no'}_{'yes' if other else 'no'}": sum(
            1 for a, b in zip(first, second, strict=True) if (a, b) == (one, other)
        )
        for one in (True, False)
        for other in (True, False)
    }
    same = counts["yes_yes"] + counts["no_no"]
    return {
        "items": len(first),
        "agreed": round_score(same / len(first)) if first else None,
        "kappa": cohen_kappa([*map(int, first)], [*map(int, second)]),
        "verdicts": counts,
    }
