"""Let a teacher write the fourth sentence about each image: how what was seen bears on the discussion.

Descriptions of records without a discussion are passed by. What is not exactly one sentence sets the image aside.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from finetrail.calls.paying_step import asking_parser, check_quarantine, run_asking_step
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import LINK_SENTENCE
from finetrail.rows.records import Row, derive_seed
from finetrail.rows.row_file import RowFile
from finetrail.step.step import Step, add_input, add_output
from finetrail.text.sentences import sentences

SETTINGS = ("vision.classes",)
ASKS = "synthesize.teacher"
PROMPT = "link_captions"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the descriptions with their fourth sentence."""
    classes = step.settings["vision"]["classes"]
    model = model_at(step, "synthesize.teacher")
    render = load_prompt(args.prompt).renderer()
    out = step.writer(args.out, may_be_empty=True)
    faulty: list[Row] = []
    with RowFile(args.records) as records, open_engine(step) as engine:

        def rows() -> Iterator[Row]:
            for row in step.rows(args.rows):
                if records[row["record_id"]]["case"]["discussion"]:
                    yield row

        def requests(row: Row) -> list[ChatRequest]:
            messages = render(
                meaning=classes[row["image"]["cond_name"]],
                caption=" ".join(row["sentences"]),
                discussion=records[row["record_id"]]["case"]["discussion"],
            )
            seed = derive_seed(row["id"], step.rule)
            return [model.request(row["id"], step.rule, messages, LINK_SENTENCE, seed=seed)]

        for row, (answer,) in ask_rows(step, engine, rows(), requests):
            link = " ".join(answer.parsed["link"].split())
            if (count := len(sentences(link))) != 1:
                faulty.append({"id": row["id"], "error": f"the link has {count} sentences, not 1", "row": row})
                continue
            out.write({**row, "sentences": [*row["sentences"], link], "calls": [*row["calls"], answer.key]})
    if faulty:
        failed = step.counts["quarantined"] + step.quarantine(faulty)
        check_quarantine(step, step.counts["in"], failed, f"{faulty[0]['id']}: {faulty[0]['error']}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "descriptions.jsonl")
    add_input(parser, "--records", "records.jsonl")
    add_output(parser, "--out", "captions.jsonl")
    return run_asking_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
