"""Score each text that a model wrote about an image against its reference, by criteria."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.errors import FinetrailError
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import text_scores_schema
from finetrail.rows.records import Row
from finetrail.step.step import Step, add_input, add_output

SETTINGS = ("evaluate.criteria",)
ASKS = "evaluate.judge"
PROMPT = "judge_texts"

UNWRITTEN = 0
"""The score of a text that the model could not be asked for."""


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the predictions with their scores; every one of them, since a missing score would flatter."""
    criteria: list[str] = step.settings["evaluate"]["criteria"]
    model = model_at(step, "evaluate.judge")
    render = load_prompt(args.prompt).renderer()
    schema = text_scores_schema(criteria)

    def requests(row: Row) -> list[ChatRequest]:
        if "set_aside" in row and not row["answer"]:
            return []
        messages = render(criteria=criteria, kind=row["kind"], reference=row["reference"], text=row["answer"])
        return [model.request(row["id"], step.rule, messages, schema)]

    out = step.writer(args.out)
    with open_engine(step) as engine:
        for row, answers in ask_rows(step, engine, step.rows(args.rows, "predictions"), requests):
            scores = {name: answers[0].parsed[name] if answers else UNWRITTEN for name in (*criteria, "overall")}
            out.write(row | {"judged": scores, "calls": [answer.key for answer in answers]})
    if step.counts["quarantined"]:
        raise FinetrailError(
            f"{step.counts['quarantined']} texts could not be judged",
            where=str(step.journal.quarantine_path),
            hint="A score over the rest would be of other images: run again, or change evaluate.judge",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "predictions")
    add_output(parser, "--out", "judged predictions")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
