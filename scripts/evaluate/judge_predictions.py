"""Grade each prediction: exact match and refusals by rule, the rest by the judge."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.errors import FinetrailError
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import ANSWER_VERDICT
from finetrail.metrics.turn_score import grade, needs_judge
from finetrail.rows.records import Row, zip_rows
from finetrail.step.step import Step, add_input, add_output

SETTINGS = ("evaluate",)
ASKS = "evaluate.judge"
PROMPT = "judge_answers"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the predictions with their grades; every one of them, since a missing grade would flatter."""
    judge = step.settings["evaluate"]["judge"]
    model = model_at(step, "evaluate.judge") if judge else None
    render = load_prompt(args.prompt).renderer() if model else None

    def requests(row: Row) -> list[ChatRequest]:
        decided = ("set_aside" in row and not row["answer"]) or not needs_judge(row["answer"], row["reference"])
        if model is None or render is None or decided:
            return []
        messages = render(
            question=row["question"],
            history=row["history"],
            reference_answer=row["reference"],
            answer=row["answer"],
        )
        return [model.request(row["id"], step.rule, messages, ANSWER_VERDICT)]

    rows = (
        prediction | {"reference": test["answer"], "question": test["question"], "history": test["history"]}
        for prediction, test in step.progress("predictions", args.rows).over(zip_rows(args.rows, args.test))
        if step.shard.holds(prediction["id"])
    )
    out = step.writer(args.out)
    with open_engine(step) as engine:
        for row, answers in ask_rows(step, engine, rows, requests):
            said = bool(answers and answers[0].parsed["correct"])
            turn = grade(row["session_id"], row["turn"], row["answer"], row["reference"], judged_correct=said)
            grades = {"correct": turn.is_correct, "exact_match": turn.is_exact_match, "miss": turn.is_miss}
            del row["history"]
            out.write(row | {"grade": grades, "judge": judge and judge["model"], "calls": [a.key for a in answers]})
    if step.counts["quarantined"]:
        raise FinetrailError(
            f"{step.counts['quarantined']} predictions could not be judged",
            where=str(step.journal.quarantine_path),
            hint="A score over the rest would be of other questions: run again, or change evaluate.judge",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "predictions")
    add_input(parser, "--test", "the fold's test.jsonl")
    add_output(parser, "--out", "judged predictions")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
