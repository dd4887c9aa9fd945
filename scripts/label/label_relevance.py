"""Judge each reranked passage against its question, one call a passage: yes or no, or a grade from 0 to 3.

Only train records are labelled: dev and test records stay as they are, and what the deployed system will not have
is not paid for. To calibrate the labeller, the pairs that people have labelled are judged too (`--every-split`), and
are used for nothing else.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatAnswer, ChatRequest
from finetrail.llm.schemas import GRADED_RELEVANCE, RELEVANCE
from finetrail.retrieval.passage_file import PassageFile
from finetrail.rows.records import Row
from finetrail.rows.train_rows import TrainRows
from finetrail.step.step import Step, add_input, add_output
from finetrail.vision.row_images import images_of

SETTINGS = ("label.scale", "label.relevant_from", "label.show_answer", "label.show_image", "source.images")
ASKS = "label.model"


def label_of(chunk: Row, answer: ChatAnswer, settings: dict[str, Any]) -> Row:
    """Make the label of a chunk from the model's verdict or grade."""
    verdict = answer.parsed
    if settings["scale"] == "graded":
        verdict = {"relevant": verdict["grade"] >= settings["relevant_from"], "grade": verdict["grade"]}
    kept = {name: verdict[name] for name in ("relevant", "grade") if name in verdict}
    return {"passage_id": chunk["passage_id"], **kept, "call": answer.key, "answer_sha256": answer.answer_sha256}


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the rows with their labels."""
    settings, folder = step.settings["label"], step.settings["source"]["images"]
    model = model_at(step, args.asks)
    schema = GRADED_RELEVANCE if settings["scale"] == "graded" else RELEVANCE
    render = load_prompt(args.prompt).renderer()
    every_row = step.rows(args.rows)
    train = TrainRows(every_row, args.splits)
    rows = every_row if args.every_split else train

    with PassageFile(args.passages) as passages, open_engine(step) as engine:

        def requests(row: Row) -> list[ChatRequest]:
            images = images_of(row, folder) if settings["show_image"] else ()
            # Whoever has seen the gold answer may not label what a model is tested on.
            shown = {"reference_answer": row["answer"]} if settings["show_answer"] and train.is_train(row) else {}
            return [
                model.request(
                    row["id"],
                    step.rule,
                    render(
                        images=images,
                        question=row["question"],
                        history=row["history"],
                        passage=passages.evidence(chunk),
                        **shown,
                    ),
                    schema,
                )
                for chunk in row["chunks"]
            ]

        out = step.writer(args.out)
        relevant = labelled = 0
        for row, answers in ask_rows(step, engine, rows, requests):
            labels = [label_of(chunk, answer, settings) for chunk, answer in zip(row["chunks"], answers, strict=True)]
            relevant += sum(label["relevant"] for label in labels)
            labelled += len(labels)
            out.write(row | {"labels": labels})
    step.facts["labels"] = {
        "passages": labelled,
        "relevant": relevant,
        "rows_of_dev_and_test_left_alone": train.others,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "reranked.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    parser.add_argument("--asks", default=ASKS, help="the key of the judge in the recipe, such as label.second")
    parser.add_argument("--every-split", action="store_true", help="label rows of dev and test, too: to calibrate")
    add_output(parser, "--out", "pointwise_labeled.jsonl")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
