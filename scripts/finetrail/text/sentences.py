"""Sentences of captions and summaries, counted the same way wherever they are counted."""

import re

# A full stop ends a sentence unless a number goes on (1.5), or it follows a single letter or a common short form.
_END = re.compile(
    r"""(?<![A-Z])(?<!\b[A-Z])(?<!\be\.g)(?<!\bi\.e)(?<!\bapprox)(?<!\bvs)(?<!\bDr)(?<!\bSt)
    [.!?]+["')\]]*(?=\s|$)""",
    re.VERBOSE,
)
_UPPER_END = re.compile(r"""(?<=[A-Z]{2})[.!?]+["')\]]*(?=\s|$)""")


def sentences(text: str) -> list[str]:
    """Split a text into sentences, white space made single; what no full stop ends is the last one."""
    line = " ".join(text.split())
    ends = sorted({match.end() for pattern in (_END, _UPPER_END) for match in pattern.finditer(line)})
    pieces = [line[start:end].strip() for start, end in zip([0, *ends], [*ends, len(line)], strict=True)]
    return [piece for piece in pieces if piece]
