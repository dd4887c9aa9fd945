"""Render the train examples of a fold as the final strings of a model family: what the trainer tokenizes.

Each string is held to the token ids that the trainer sees and to the layout that the Modelfile's TEMPLATE is made of.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from finetrail.rows.artifacts import check_manifest
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("limits",)
ENVIRONMENT = "train"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row an example: its text, and where the answer begins in it."""
    from finetrail.models.base_model import BaseModel
    from finetrail.models.base_tokenizer import check_family
    from finetrail.models.control_tokens import SetAside
    from finetrail.models.limits import Limits
    from finetrail.models.masks import encode_row
    from finetrail.training.rendered import rendered

    check_manifest(args.base.parent, args.base)
    limits = Limits(**step.settings["limits"])
    tokenizer = BaseModel(args.base.parent).tokenizer
    layout = check_family(tokenizer, args.family)
    out = step.writer(args.out)
    aside = SetAside()
    for row in step.rows(args.train, "examples"):
        with aside.unfit(str(row["id"])):
            example = encode_row(row, tokenizer, limits)
            final = rendered(example, tokenizer, layout)
            out.write(
                {
                    "id": row["id"],
                    "parents": [row["id"]],
                    "text": final.text,
                    "answer_start": final.answer_start,
                    "tokens": len(example.input_ids),
                    "passages_left_out": example.dropped_passages,
                }
            )
    unfit = Counter(aside.reasons.values())
    aside.check(out.count + unfit.total())
    step.count(rows_in=out.count + unfit.total(), kept=out.count, dropped=unfit)
    step.facts["layout"] = layout.name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--family", required=True, help="family of the base model's prompts")
    add_input(parser, "--train", "the fold's train.jsonl")
    add_input(parser, "--base", "manifest.json of the base model")
    add_output(parser, "--out", "prompts/{family}.jsonl")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
