"""Judge each reranked passage against its question, one call a passage.

Only train records are labelled: dev and test records stay as they are, and what the deployed system will not have
is not paid for.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from finetrail.llm.ask import ask_rows, asking_parser, model_at, open_engine, run_asking_step
from finetrail.llm.prompts import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import RELEVANCE
from finetrail.lookup import PassageFile
from finetrail.records import Row, read_table
from finetrail.step import Step, add_input, add_output


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the train rows with their labels."""
    model = model_at(step, "label.model")
    render = load_prompt(args.prompt).renderer()
    splits = {name: row["split"] for name, row in read_table(args.splits).items()}
    others = 0

    def train_rows() -> Iterator[Row]:
        nonlocal others
        for row in step.rows(args.rows):
            if splits[row["id"]] == "train":
                yield row
            else:
                others += 1

    with PassageFile(args.passages) as passages, open_engine(step) as engine:

        def requests(row: Row) -> list[ChatRequest]:
            evidence = [passages.evidence(chunk) for chunk in row["chunks"]]
            prompts = [render(question=row["question"], history=row["history"], passage=item) for item in evidence]
            return [model.request(row["id"], step.rule, messages, RELEVANCE) for messages in prompts]

        out = step.writer(args.out)
        relevant = labelled = 0
        for row, answers in ask_rows(step, engine, train_rows(), requests):
            labels = [
                {
                    "passage_id": chunk["passage_id"],
                    "relevant": answer.parsed["relevant"],
                    "call": answer.key,
                    "answer_sha256": answer.answer_sha256,
                }
                for chunk, answer in zip(row["chunks"], answers, strict=True)
            ]
            relevant += sum(label["relevant"] for label in labels)
            labelled += len(labels)
            out.write(row | {"labels": labels})
    step.facts["labels"] = {
        "passages": labelled,
        "relevant": relevant,
        "rows_of_dev_and_test_left_alone": others,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "reranked.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "pointwise_labeled.jsonl")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
