"""Compare each answer version with the record's own answer."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import ANSWER_VERDICT
from finetrail.rows.records import Row
from finetrail.rows.row_file import RowFile
from finetrail.step.step import Step, add_input, add_output

ASKS = "synthesize.judge"
PROMPT = "judge_answers"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the versions with their verdicts."""
    model = model_at(step, "synthesize.judge")
    render = load_prompt(args.prompt).renderer()
    out = step.writer(args.out)
    correct = 0
    with RowFile(args.records) as records, open_engine(step) as engine:

        def requests(row: Row) -> list[ChatRequest]:
            record = records[row["record_id"]]
            messages = render(
                question=record["question"],
                history=record["history"],
                reference_answer=record["answer"],
                answer=row["answer"],
            )
            return [model.request(row["id"], step.rule, messages, ANSWER_VERDICT)]

        for row, (answer,) in ask_rows(step, engine, step.rows(args.rows, "versions"), requests):
            verdict = {
                "correct": answer.parsed["correct"],
                "call": answer.key,
                "answer_sha256": answer.answer_sha256,
            }
            correct += verdict["correct"]
            out.write(row | {"verdict": verdict, "calls": [*row["calls"], answer.key]})
    step.facts["verdicts"] = {"correct": correct, "not_correct": out.count - correct}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "answers.jsonl")
    add_input(parser, "--records", "records.jsonl")
    add_output(parser, "--out", "judged.jsonl")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
