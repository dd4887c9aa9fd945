"""Find the candidate passages of each question with a search service, and read the pages that it names.

What was searched and read is kept in the call store: another run asks for nothing twice, and replay needs no network.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.calls.paying_step import asking_parser
from finetrail.errors import FinetrailError
from finetrail.step.step import Step, add_input, add_output, run_step
from finetrail.web.search_rows import plan_searches, recall_rows

SETTINGS = ("recall",)
SEARCHES = True
ENVIRONMENT = "data"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their candidates, and each passage once."""
    rows = step.rows(args.rows, "questions")
    if step.planning:
        plan_searches(step, rows)
        return
    out, passages = step.writer(args.out), step.writer(args.passages)
    known: set[str] = set()
    without = 0
    for recalled in recall_rows(step, rows):
        without += not recalled.passages
        for passage in recalled.passages:
            if passage["id"] not in known:
                known.add(passage["id"])
                passages.write(passage)
        out.write(recalled.row)
    step.facts["questions_without_candidates"] = without
    if step.counts["quarantined"]:
        raise FinetrailError(
            f"{step.counts['quarantined']} records could not be searched for",
            where=str(step.journal.quarantine_path),
            hint="Dev and test records may not be lost: run again (what was paid is kept), or change recall.http",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "queries.jsonl")
    add_output(parser, "--out", "recall.jsonl")
    add_output(parser, "--passages", "passages.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
