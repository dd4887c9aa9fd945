"""Answer the test questions turn by turn, with the model's own earlier answers as history.

Beside the answers stands the held-out loss: how unlikely the model finds the original answers, given the gold
history, so that every model is asked about the same tokens. Of a multiple choice, each option is measured
like that too, behind what the model itself said before its answer. Of a question about an image the loss behind the
images of other questions stands there as well: it tells whether the model looks. In conversations, so does how unlikely
the refusal is behind the model's own history.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from finetrail.artifacts import check_manifest
from finetrail.metrics.swaps import swapped_rows
from finetrail.records import Row, read_rows
from finetrail.step import Step, add_input, add_output, run_step, step_parser
from finetrail.training.likelihood import AnswerLoss, answer_loss, option_losses


def described(loss: AnswerLoss) -> Row:
    """Return a loss as it is written."""
    return {"nats": round(loss.nats, 6), "tokens": loss.tokens}


def options_of(row: Row, measure: Callable[[], list[AnswerLoss]]) -> Row:
    """Return what is measured of a row's options, where it has some."""
    return {"options": [described(loss) for loss in measure()]} if "choice" in row else {}


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one prediction a test row."""
    from transformers import AutoTokenizer

    from finetrail.training.generate import answer_sessions, load_model
    from finetrail.training.masks import choose_images, encode_row
    from finetrail.training.pictures import load_vision
    from finetrail.training.settings import Limits

    limits = Limits(**step.settings["limits"])
    for manifest in [args.base, *args.adapter]:
        check_manifest(manifest.parent, manifest)
    rows = list(read_rows(args.test))
    vision = choose_images(rows, limits, load_vision(args.base.parent, step.settings["source"]["images"]))
    tokenizer = AutoTokenizer.from_pretrained(args.base.parent)
    model = load_model(args.base.parent, args.adapter[0].parent if args.adapter else None)
    encoded = (encode_row(row, tokenizer, limits, vision=vision) for row in step.progress("losses").over(rows))
    losses = answer_loss(model, encoded, vision)

    def behind_others(row: Row) -> Row:
        """Measure the loss behind other rows' images, where the model is shown the row's own."""
        if vision is None or row.get("image") is None:
            return {}
        others = swapped_rows(row, rows)
        shown = (encode_row(row | {"image": other["image"]}, tokenizer, limits, vision=vision) for other in others)
        found = zip(others, answer_loss(model, shown, vision), strict=True)
        return {"swapped": [{"id": other["id"], "nats": described(loss)["nats"]} for other, loss in found]}

    progress = step.progress("turns", len(rows))
    answers = answer_sessions(
        model,
        tokenizer,
        rows,
        limits=limits,
        max_answer_tokens=step.settings["predict"]["max_answer_tokens"],
        vision=vision,
        refusal=step.settings["predict"]["trivial_answer"] if step.settings["evaluate"]["metric"] == "turns" else None,
        progress=lambda done, total: progress.advance(done - progress.done),
    )
    out = step.writer(args.out)
    for row, answer, loss in zip(rows, answers, losses, strict=True):
        out.write(
            {
                "id": row["id"],
                "parents": row["parents"],
                "group": row["group"],
                "session_id": row["session_id"],
                "turn": row["turn"],
                "answer": answer.text,
                "stopped": answer.stopped,
                **({} if answer.refusal_nats is None else {"refusal": {"nats": round(answer.refusal_nats, 6)}}),
                "loss": described(loss),
                **behind_others(row),
                **options_of(row, partial(option_losses, model, tokenizer, row, answer.text, limits, vision)),
            }
        )
    step.facts["images_not_shown"] = 0 if vision else sum(row.get("image") is not None for row in rows)
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
        required=False,
    )
    add_output(parser, "--out", "predictions")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
