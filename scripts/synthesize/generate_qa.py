"""Write questions and answers about each chunk, one call a chunk; each pair quotes the words that hold its answer.

Chunks of dev and test are asked about too: theirs are the questions that models are tested on.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import QUESTIONS
from finetrail.rows.records import Row, content_id, derive_seed
from finetrail.step.step import Step, add_input, add_output
from finetrail.text.spans import find_quote

SETTINGS = ("synthesize.questions", "synthesize.styles")
ASKS = "synthesize.teacher"
PROMPT = "generate_qa"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a pair, with the span of its quotation in the chunk, or none where it is not there."""
    settings = step.settings["synthesize"]
    styles = list(islice(cycle(settings["styles"]), settings["questions"]))
    model = model_at(step, "synthesize.teacher")
    render = load_prompt(args.prompt).renderer()

    def chunks() -> Iterator[Row]:
        return (row for row in step.rows(args.rows) if "chunk" in row)

    def requests(row: Row) -> list[ChatRequest]:
        chunk = row["chunk"]
        messages = render(styles=styles, title=chunk["title"], headings=chunk["headings"], text=chunk["text"])
        seed = derive_seed(row["id"], step.rule)
        return [model.request(row["id"], step.rule, messages, QUESTIONS, seed=seed)]

    out = step.writer(args.out)
    with open_engine(step) as engine:
        for row, (answer,) in ask_rows(step, engine, chunks(), requests):
            for number, pair in enumerate(answer.parsed["pairs"]):
                span = find_quote(row["chunk"]["text"], pair["evidence"])
                out.write(
                    {
                        "id": content_id("qa", row["id"], str(number), answer.key, answer.answer_sha256),
                        "parents": [row["id"]],
                        "record_id": row["id"],
                        "number": number,
                        "style": styles[number] if number < len(styles) else None,
                        "question": pair["question"].strip(),
                        "answer": pair["answer"].strip(),
                        "evidence": pair["evidence"],
                        "support": list(span) if span else None,
                        "finish_reason": answer.finish_reason,
                        "calls": [answer.key],
                        "answer_sha256": answer.answer_sha256,
                    }
                )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "records.jsonl")
    add_output(parser, "--out", "qa.jsonl")
    return run_asking_step(parser, argv, __file__, work, key="record_id")


if __name__ == "__main__":
    sys.exit(main())
