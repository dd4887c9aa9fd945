"""What a reader makes of a file: pages of text, and a count of all that it saw and did not take."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from finetrail.documents.decode import Decoded

LONGEST_TITLE = 300
PASSED_ON = (MemoryError, ImportError)  # no fault of the part of a file at which they are raised
SPACE = re.compile(r"\s+")


class Pages(NamedTuple):
    """The text of a file, in one or several pages (or slides), in the `markup` of md, rst or none.

    `left_out` counts what was seen and not taken, by what it is called in the report; `notes` say what else a
    reader of the report must know.
    """

    texts: list[str]
    markup: str
    numbered: bool
    title: str = ""
    encoding: Decoded | None = None
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = Counter()


def one_line(text: str) -> str:
    """Make all white space single spaces."""
    return SPACE.sub(" ", text).strip()


def title_of(text: str | None) -> str:
    """Return a title as it is kept: on one line, of bounded length."""
    return one_line(text or "")[:LONGEST_TITLE]


def fault(error: Exception) -> str:
    """Name what broke a part of a file, in a few words."""
    return f"{type(error).__name__}: {one_line(str(error))[:120]}"
