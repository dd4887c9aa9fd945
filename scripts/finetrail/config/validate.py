"""Problems of a configuration, collected so that all of them are shown at once."""

from collections.abc import Iterable
from typing import NamedTuple

from finetrail.errors import FinetrailError


class Problem(NamedTuple):
    """One thing that is wrong, and where; line is 0 where there is none (the command line)."""

    file: str
    line: int
    text: str
    hint: str | None = None

    @property
    def where(self) -> str:
        """The place as ``file:line``."""
        return place(self.file, self.line)


def place(file: str, line: int) -> str:
    """Render a place as ``file:line``, or only the file where there is no line."""
    return f"{file}:{line}" if line else file


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise one error that lists every problem by file and line; do nothing when there is none.

    Raises:
        FinetrailError: there is a problem.
    """
    listed = sorted(dict.fromkeys(problems), key=lambda problem: problem[:3])
    if not listed:
        return
    if len(listed) == 1:
        raise FinetrailError(listed[0].text, where=listed[0].where, hint=listed[0].hint)
    lines = [f"  {problem.where}: {problem.text}" + (f". {problem.hint}" if problem.hint else "") for problem in listed]
    raise FinetrailError("\n".join([f"{len(listed)} errors in the configuration:", *lines]))
