"""Read a corpus into one validated row a passage; what holds no text is listed in the meta file."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from finetrail.retrieval.corpora import read_corpus
from finetrail.rows.records import Row
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.text.control import CONTROL

SETTINGS = ("recall.chunk_tokens",)
ENVIRONMENT = "data"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the passages."""
    dropped: list[Row] = []
    out = step.writer(args.out)
    longest = step.settings["recall"]["chunk_tokens"]
    controls = 0
    for passage in step.progress("passages").over(read_corpus(args.files, dropped, longest=longest)):
        controls += sum(len(CONTROL.findall(passage[name])) for name in ("title", "text"))
        out.write(passage)
    if controls:
        step.facts["control_characters"] = controls  # left in: places in these texts are known elsewhere
    step.facts["dropped_rows"] = dropped
    reasons = Counter(row["reason"] for row in dropped)
    step.count(rows_in=out.count + len(dropped), kept=out.count, dropped=reasons)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--files", "the corpus: JSON Lines, and folders", nargs="+")
    add_output(parser, "--out", "passages.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
