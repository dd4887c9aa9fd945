"""Write the search queries of each question; where the recipe wants none, the question is its own query.

The model sees the user's turns only, never an answer: what it does for a test question is what it will do when the
system is deployed, where the earlier answers are the tuned model's own. A model that writes its queries itself, when it
is deployed, is taught by those of train questions, and no others are asked for.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.errors import FinetrailError
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import SEARCH_QUERIES
from finetrail.rows.records import Row
from finetrail.rows.train_rows import TrainRows
from finetrail.step.step import Step, add_input, add_output
from finetrail.vision.row_images import images_of

SETTINGS = ("queries", "source.images")
ASKS = "queries.model"
PROMPT = "make_queries"


def distinct_queries(question: str, written: Sequence[str], most: int) -> list[Row]:
    """Keep the first distinct queries; a question without any is searched for as it stands."""
    texts = list(dict.fromkeys(text.strip() for text in written if text.strip()))[:most]
    if not texts:
        return [{"text": question, "origin": "question"}]
    return [{"text": text, "origin": "model"} for text in texts]


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their queries."""
    settings, folder = step.settings["queries"], step.settings["source"]["images"]
    model = model_at(step, "queries.model") if settings["enabled"] else None
    render = load_prompt(args.prompt).renderer() if model else None

    every_row = step.rows(args.rows)
    train = TrainRows(every_row, args.splits[0]) if args.splits else None

    def requests(row: Row) -> list[ChatRequest]:
        if model is None or render is None or not (train is None or train.is_train(row)):
            return []
        earlier = [turn["content"] for turn in row["history"] if turn["role"] == "user"]
        messages = render(images=images_of(row, folder), question=row["question"], earlier_questions=earlier)
        return [model.request(row["id"], step.rule, messages, SEARCH_QUERIES)]

    out = step.writer(args.out)
    with open_engine(step) as engine:
        for row, answers in ask_rows(step, engine, every_row, requests):
            written = [text for answer in answers for text in answer.parsed["queries"]]
            queries = distinct_queries(row["question"], written, settings["count"])
            out.write(row | {"queries": queries, "calls": [answer.key for answer in answers]})
    if step.counts["quarantined"]:
        raise FinetrailError(
            f"{step.counts['quarantined']} records got no queries",
            where=str(step.journal.quarantine_path),
            hint="Dev and test records may not be lost: run again (what was paid is kept), or change queries.model",
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "records.jsonl")
    add_input(
        parser,
        "--splits",
        "splits.jsonl: queries are written for train questions only; none: for all",
        nargs="*",
        required=False,
        default=[],
    )
    add_output(parser, "--out", "queries.jsonl")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
