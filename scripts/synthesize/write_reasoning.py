"""Let a teacher reason about each train prompt: "Reasoning / Reflection / Answer", in as many versions as asked for.

Every version may show the options in an order of its own, and what the teacher was shown is what will be trained on, so
that neither a letter nor a place carries the answer. The teacher never sees the key.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.calls.paying_step import asking_parser, run_asking_step
from finetrail.errors import FinetrailError
from finetrail.examples.choices import Choice, answer_text, permute
from finetrail.llm.ask import ask_rows, model_at, open_engine
from finetrail.llm.prompt_file import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.rows.records import Row, content_id, derive_seed
from finetrail.rows.train_rows import TrainRows
from finetrail.step.step import Step, add_input, add_output

SETTINGS = ("synthesize.versions", "synthesize.permute_options")
ASKS = "synthesize.teacher"
PROMPT = "write_reasoning"


def shown(row: Row, version: int, permuted: bool) -> tuple[str, Choice]:
    """Return prompt and choice of a version.

    Raises:
        FinetrailError: the record is no multiple choice.
    """
    if "choice" not in row:
        hint = "Use a reader that gives choices, or another `synthesize.kind`"
        raise FinetrailError("the record has no options to choose from", where=row["id"], hint=hint)
    prompt, choice = row["question"], row["choice"]
    return permute(prompt, choice, row["id"], version) if permuted else (prompt, choice)


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a version: the prompt as it was shown, and the reply."""
    settings = step.settings["synthesize"]
    versions, permuted = range(settings["versions"]), settings["permute_options"]
    model = model_at(step, "synthesize.teacher")
    render = load_prompt(args.prompt).renderer()
    rows = TrainRows(step.rows(args.rows), args.splits)

    def requests(row: Row) -> list[ChatRequest]:
        seed = derive_seed(row["id"], step.rule)
        asked = []
        for version in versions:
            prompt, choice = shown(row, version, permuted)
            answers = [answer_text(choice, index) for index in range(len(choice["options"]))]
            messages = render(prompt=prompt, answers=answers)
            asked.append(model.request(row["id"], step.rule, messages, None, sample=version, seed=seed))
        return asked

    out = step.writer(args.out)
    with open_engine(step) as engine:
        for row, answers in ask_rows(step, engine, rows, requests):
            for version, answer in enumerate(answers):
                prompt, choice = shown(row, version, permuted)
                out.write(
                    {
                        "id": content_id("reply", row["id"], str(version), answer.key, answer.answer_sha256),
                        "parents": [row["id"]],
                        "record_id": row["id"],
                        "version": version,
                        "session_id": row["session_id"],
                        "turn": row["turn"],
                        "question": prompt,
                        "choice": choice,
                        "reply": answer.text,
                        "finish_reason": answer.finish_reason,
                        "calls": [answer.key],
                        "answer_sha256": answer.answer_sha256,
                    }
                )
    step.facts["replies"] = {"versions": out.count, "rows_of_dev_and_test_left_alone": rows.others}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "records.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "replies.jsonl")
    return run_asking_step(parser, argv, __file__, work, key="record_id")


if __name__ == "__main__":
    sys.exit(main())
