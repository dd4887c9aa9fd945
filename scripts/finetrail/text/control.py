"""Characters that no text has: left over of terminals and damaged files, and cleaned away wherever text comes in."""

import re
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")


PLACES = frozenset({"path"})
"""Fields that name a file: they stay as the file's name is."""


def without_control(value: Any) -> tuple[Any, int]:
    """Return a value of JSON with no control character in its texts, and how many were taken away.

    Keys and what stands under `PLACES` stay.
    """
    if isinstance(value, str):
        return CONTROL.subn("", value) if CONTROL.search(value) else (value, 0)
    if isinstance(value, dict):
        cleaned = {key: (held, 0) if key in PLACES else without_control(held) for key, held in value.items()}
        return {key: held for key, (held, _) in cleaned.items()}, sum(count for _, count in cleaned.values())
    if isinstance(value, list):
        parts = [without_control(held) for held in value]
        return [held for held, _ in parts], sum(count for _, count in parts)
    return value, 0
