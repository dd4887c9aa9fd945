"""Grade each reply to a multi-hop question, and write the predictions in the official format besides.

The official file holds the replies to the questions as deployed, citations taken out of the answers and turned into
supporting facts; `scripts/evaluate/score_hotpotqa.py` reads it.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.metrics.hop_grades import grade_reply
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, zip_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

AS_DEPLOYED = "retrieved"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the graded predictions, and the official ones."""
    out = step.writer(args.out)
    official: dict[str, Row] = {"answer": {}, "sp": {}}
    for prediction, asked in step.progress("predictions").over(zip_rows(args.rows, args.asked)):
        grade = grade_reply(prediction["answer"], asked["answer"], asked["hops"])
        if asked["condition"] == AS_DEPLOYED:
            official["answer"][asked["session_id"]] = grade["answer"]
            official["sp"][asked["session_id"]] = grade["facts"]
        known = {key: asked[key] for key in ("condition", "record_id")}
        known |= {key: asked["hops"][key] for key in ("type", "level")}
        out.write(prediction | known | {"grade": grade})
    step.file(args.official).write_text(render_json(official), encoding="utf-8")
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "predictions")
    add_input(parser, "--asked", "the questions in every condition")
    add_output(parser, "--out", "graded predictions")
    add_output(parser, "--official", "predictions in the official format")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
