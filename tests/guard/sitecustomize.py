"""Python reads this file as it starts, in every child process of a fast test: it reports an import of torch."""

import os
import sys
from pathlib import Path

HEAVY = ("torch", "transformers")
REPORT = "TESTS_TIER_REPORT"  # names the file to report to


def report(event: str, arguments: tuple[object, ...]) -> None:
    """Write down an import of a heavy module; the test that started this process reads it at its end."""
    if event == "import" and arguments[0] in HEAVY:
        with Path(os.environ[REPORT]).open("a", encoding="utf-8") as lines:
            lines.write(f"a process that it starts imports {arguments[0]}\n")


if REPORT in os.environ:
    sys.addaudithook(report)
