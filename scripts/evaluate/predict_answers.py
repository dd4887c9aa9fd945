"""Answer the test questions turn by turn, with the model's own earlier answers as history.

Beside the answers stands the held-out loss: how unlikely the model finds the original answers, given the gold
history, so that every model is asked about the same tokens. Of a multiple choice, each option is measured
like that too, behind what the model itself said before its answer. Of a question about an image the loss behind the
images of other questions stands there as well: it tells whether the model looks. In conversations, so does how unlikely
the refusal is behind the model's own history.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.rows.artifacts import check_manifest
from finetrail.rows.records import read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("predict.max_answer_tokens", "predict.trivial_answer", "evaluate.metric", "limits", "source.images")
ENVIRONMENT = "train"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one prediction a test row."""
    from finetrail.inference.answering.predictions import Counting, load_predictor, predictions

    for manifest in [args.base, *args.adapter]:
        check_manifest(manifest.parent, manifest)
    rows = list(read_rows(args.test))
    asked = load_predictor(args.base.parent, args.adapter[0].parent if args.adapter else None, rows, step.settings)
    turns = step.progress("turns", len(rows))
    counting = Counting(step.progress("losses").over, lambda done, _: turns.advance(done - turns.done))
    out = step.writer(args.out)
    control_texts = unfit = 0
    for prediction, answer in predictions(asked, rows, settings=step.settings, counting=counting):
        out.write(prediction)
        control_texts += answer.control_texts
        unfit += "set_aside" in prediction
    step.facts["set_aside"] = unfit
    step.facts["control_tokens_shown_as_words"] = control_texts
    step.facts["images_not_shown"] = 0 if asked.vision else sum(row.get("image") is not None for row in rows)
    step.count(rows_in=len(rows), kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--test", "the fold's test.jsonl")
    add_input(parser, "--base", "manifest.json of the base model")
    add_input(
        parser,
        "--adapter",
        "manifest.json of the adapter; none for the base alone",
        nargs="*",
        default=[],
        required=False,
    )
    add_output(parser, "--out", "predictions")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
