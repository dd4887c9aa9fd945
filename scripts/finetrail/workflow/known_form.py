"""Forms of `formatted/` that can be written at all: known before the pairs are paid for."""

from typing import Any

from finetrail.errors import FinetrailError
from finetrail.models.templates import OWN, TEMPLATES

HIGHEST = 10.0  # of the scale of `validate_qa`


def known_form(wildcards: Any) -> list[str]:
    """Return no further input for a form that can be written; rules name it as an input.

    Raises:
        FinetrailError: there is no such template, or no pair can reach the threshold.
    """
    template, threshold = wildcards.template, wildcards.threshold
    try:
        is_reachable = 0 <= float(threshold) <= HIGHEST
    except ValueError:
        is_reachable = False
    if not is_reachable:
        raise FinetrailError(f"no pair has a score of {threshold}", hint=f"Scores go from 0 to {HIGHEST:g}")
    if template not in TEMPLATES:
        hint = f"There are: {', '.join(TEMPLATES)}; and {OWN}, where the recipe has a base model and one fold"
        raise FinetrailError(f"there is no template {template!r}", hint=hint)
    return []
