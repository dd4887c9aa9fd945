"""Let a teacher summarise each train record's discussion: what models learn to write. Dev and test keep their own."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import SUMMARY
from finetrail.rows.records import Row, derive_seed, read_table
from finetrail.step.step import Step, add_input, add_output

ASKS = "synthesize.teacher"
PROMPT = "summarize_discussions"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a record with its summary."""
    model = model_at(step, "synthesize.teacher")
    render = load_prompt(args.prompt).renderer()
    splits = {name: row["split"] for name, row in read_table(args.splits).items()}
    out = step.writer(args.out, may_be_empty=True)

    def rows() -> Iterator[Row]:
        for row in step.rows(args.rows):
            if splits[row["id"]] == "train" and row["case"]["discussion"]:
                yield row

    def requests(row: Row) -> list[ChatRequest]:
        messages = render(discussion=row["case"]["discussion"])
        return [model.request(row["id"], step.rule, messages, SUMMARY, seed=derive_seed(row["id"], step.rule))]

    with open_engine(step) as engine:
        for row, (answer,) in ask_rows(step, engine, rows(), requests):
            text = " ".join(answer.parsed["summary"].split())
            out.write({"id": row["id"], "summary": text, "calls": [answer.key]})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "records.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "summaries.jsonl")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
