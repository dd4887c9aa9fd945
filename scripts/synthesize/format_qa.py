"""Write the validated train pairs from a threshold on in the form of a template; no model is asked."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.models.control_tokens import SetAside
from finetrail.models.model_folder import read_tokenizer
from finetrail.models.templates import OWN, TEMPLATES, Form, own_form
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("folds.system_prompt",)

BELOW = "its overall score is below the threshold"


def form_of(template: str, base: Sequence[Path]) -> Form:
    """Return a template's form; of `tokenizer` that of the base model's own template.

    Raises:
        FinetrailError: there is no such template, or no base model for its tokenizer.
    """
    if template == OWN and base:
        return own_form(read_tokenizer(base[0].parent))
    if template not in TEMPLATES:
        hint = f"There are: {', '.join(TEMPLATES)}; and {OWN}, where the recipe has a base model"
        raise FinetrailError("there is no such template", where=template, hint=hint)
    return TEMPLATES[template]


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the formatted pairs."""
    lay_out = form_of(args.template, args.base)
    system: str = step.settings["folds"]["system_prompt"]
    out = step.writer(args.out)
    below, aside = 0, SetAside()
    for row in step.rows(args.rows, "pairs"):
        if row["validation"]["overall"] < args.threshold:
            below += 1
            continue
        with aside.unfit(str(row["id"])):
            out.write({"id": row["id"], **lay_out(system, row["question"], row["answer"])})
    unfit = Counter(aside.reasons.values())
    aside.check(out.count + unfit.total())
    step.count(rows_in=out.count + below + unfit.total(), kept=out.count, dropped={BELOW: below, **unfit})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--template", required=True, help=f"one of {', '.join(TEMPLATES)}, {OWN}")
    parser.add_argument("--threshold", type=float, required=True, help="least overall score; 0 keeps all")
    add_input(parser, "--rows", "validated.jsonl")
    add_input(
        parser, "--base", "manifest.json of the base model, for its tokenizer", nargs="*", default=[], required=False
    )
    add_output(parser, "--out", "formatted/{template}_t{threshold}.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
