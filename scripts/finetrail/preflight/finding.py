"""A thing that preflight found: what is wrong, where it is said, and what to change."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal


@dataclass(frozen=True, order=True)
class Finding:
    """One line of the report.

    Attributes:
        level: `error` ends in jobs that fail; a `warning` may.
        where: the key of the configuration, or the program, to look at.
        what: what is wrong.
        fix: what to change.
    """

    level: Literal["error", "warning"]
    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.what}. {self.fix}"


def one_of(names: Iterable[str], wrong: str) -> str:
    """Say which names there are, the nearest one first."""
    known = sorted(set(names))
    nearest = get_close_matches(wrong, known, 1)
    return f"Did you mean {nearest[0]}? There are: {', '.join(known)}" if nearest else f"There are: {', '.join(known)}"
