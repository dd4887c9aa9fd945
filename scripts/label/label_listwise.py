"""Let a model choose among all candidates of a train record in one call, before each passage is labelled on its own.

The choice is written as ``right_info``: the passages, by id and by their number in the list that the model saw.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.chat.messages import Evidence
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import chosen_passages_schema
from finetrail.retrieval.passage_file import PassageFile
from finetrail.rows.records import Row
from finetrail.rows.train_rows import TrainRows
from finetrail.step.step import Step, add_input, add_output
from finetrail.vision.row_images import images_of

SETTINGS = ("label.listwise_words", "label.show_image", "source.images")
ASKS = "label.listwise"
PROMPT = "label_listwise"


def beginning(passages: PassageFile, passage_id: str, words: int) -> Evidence:
    """Return title and first words of a passage."""
    passage = passages[passage_id]
    return Evidence(title=passage["title"], text=" ".join(passage["text"].split()[:words]))


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the train rows with the chosen passages."""
    settings, folder = step.settings["label"], step.settings["source"]["images"]
    model = model_at(step, "label.listwise")
    render = load_prompt(args.prompt).renderer()
    rows = TrainRows(step.rows(args.rows), args.splits)

    with PassageFile(args.passages) as passages, open_engine(step) as engine:

        def requests(row: Row) -> list[ChatRequest]:
            ids = [candidate["passage_id"] for candidate in row["candidates"]]
            if not ids:
                return []
            messages = render(
                images=images_of(row, folder) if settings["show_image"] else (),
                question=row["question"],
                history=row["history"],
                passages=[beginning(passages, name, settings["listwise_words"]) for name in ids],
            )
            return [model.request(row["id"], step.rule, messages, chosen_passages_schema(len(ids)))]

        out = step.writer(args.out)
        chosen = seen = 0
        for row, answers in ask_rows(step, engine, rows, requests):
            numbers = sorted({number for answer in answers for number in answer.parsed["passages"]})
            ids = [row["candidates"][number - 1]["passage_id"] for number in numbers]
            chosen, seen = chosen + len(ids), seen + len(row["candidates"])
            out.write(
                row
                | {
                    "right_info": [
                        {"info": number, "passage_id": name} for number, name in zip(numbers, ids, strict=True)
                    ],
                    "listwise_calls": [answer.key for answer in answers],
                }
            )
    step.facts["listwise"] = {"passages": seen, "chosen": chosen, "rows_of_dev_and_test_left_alone": rows.others}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "recall.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "recall_labeled.jsonl")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
