"""The trivial baseline: every question is refused, and the answers' tokens cost what a unigram model says.

Of a multiple choice it takes the option that abstains; where there is none, the first.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from finetrail.examples.choices import answer_text
from finetrail.rows.records import Row, read_rows
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("predict.trivial_answer", "limits")
ENVIRONMENT = "train"


def trivial_answer(row: Row, refusal: str) -> Row:
    """Return the answer to a row; of options it has no likelihoods."""
    if "choice" not in row:
        return {"answer": refusal}
    choice = row["choice"]
    return {"answer": answer_text(choice, choice["unknown"] or 0), "options": None}


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one prediction a test row."""
    from finetrail.inference.unigram import Unigram, target_ids
    from finetrail.models.control_tokens import SetAside
    from finetrail.models.limits import Limits
    from finetrail.models.masks import encode_row
    from finetrail.models.model_folder import read_tokenizer

    limits = Limits(**step.settings["limits"])
    tokenizer = read_tokenizer(args.base.parent)
    trained = SetAside()

    def targets() -> Iterator[list[int]]:
        for row in read_rows(args.train):
            with trained.unfit(row["id"]):
                yield target_ids(encode_row(row, tokenizer, limits))

    unigram = Unigram(targets(), len(tokenizer))
    out = step.writer(args.out)
    aside = SetAside()
    for row in step.rows(args.test):
        loss: Row | None = None
        with aside.unfit(row["id"]):
            (found,) = unigram.answer_loss([encode_row(row, tokenizer, limits)])
            loss = {"nats": round(found.nats, 6), "tokens": found.tokens}
        out.write(
            {
                "id": row["id"],
                "parents": row["parents"],
                "group": row["group"],
                "session_id": row["session_id"],
                "turn": row["turn"],
                **trivial_answer(row, step.settings["predict"]["trivial_answer"]),
                "stopped": "eos",
                "loss": loss,
                **({"set_aside": aside.reasons[row["id"]]} if row["id"] in aside.reasons else {}),
            }
        )
    aside.check(out.count)
    step.facts["set_aside"] = len(aside.reasons)
    step.count(rows_in=out.count, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--train", "the fold's train.jsonl")
    add_input(parser, "--test", "the fold's test.jsonl")
    add_input(parser, "--base", "manifest.json of the base model, for its tokenizer")
    add_output(parser, "--out", "predictions")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
