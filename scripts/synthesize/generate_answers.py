"""Write several versions of each train record's answer, from the passages that were judged relevant.

A record without a relevant passage gets no version: it can only become a refusal.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.llm.ask import ask_rows, asking_parser, model_at, open_engine, run_asking_step
from finetrail.llm.prompts import load_prompt
from finetrail.llm.request import ChatRequest
from finetrail.llm.schemas import GROUNDED_ANSWER
from finetrail.lookup import PassageFile
from finetrail.records import Row, content_id, derive_seed
from finetrail.step import Step, add_input, add_output
from finetrail.vision.images import images_of


def relevant_chunks(row: Row) -> list[Row]:
    """Return the chunks of a labelled row that were judged relevant, best first."""
    pairs = zip(row["chunks"], row["labels"], strict=True)
    return [chunk for chunk, label in pairs if label["relevant"]]


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row an answer version."""
    versions: int = step.settings["synthesize"]["versions"]
    folder: str | None = step.settings["source"]["images"]
    model = model_at(step, "synthesize.teacher")
    render = load_prompt(args.prompt).renderer()
    with PassageFile(args.passages) as passages, open_engine(step) as engine:

        def requests(row: Row) -> list[ChatRequest]:
            evidence = [passages.evidence(chunk) for chunk in relevant_chunks(row)]
            if not evidence:
                return []
            messages = render(
                images=images_of(row, folder), question=row["question"], history=row["history"], passages=evidence
            )
            seed = derive_seed(row["id"], step.rule)
            return [
                model.request(row["id"], step.rule, messages, GROUNDED_ANSWER, sample=sample, seed=seed)
                for sample in range(versions)
            ]

        out = step.writer(args.out)
        without = 0
        for row, answers in ask_rows(step, engine, step.rows(args.rows), requests):
            without += not answers
            spans = [{key: chunk[key] for key in ("passage_id", "start", "end")} for chunk in relevant_chunks(row)]
            for version, answer in enumerate(answers):
                out.write(
                    {
                        "id": content_id("answer", row["id"], str(version), answer.key, answer.answer_sha256),
                        "parents": [row["id"]],
                        "record_id": row["id"],
                        "version": version,
                        "answer": answer.parsed["answer"].strip(),
                        "finish_reason": answer.finish_reason,
                        "passages": spans,
                        "calls": [answer.key],
                        "answer_sha256": answer.answer_sha256,
                    }
                )
    step.facts["answers"] = {"versions": out.count, "records_without_relevant_passage": without}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = asking_parser(__doc__)
    add_input(parser, "--rows", "pointwise_labeled.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "answers.jsonl")
    return run_asking_step(parser, argv, __file__, work, key="record_id")


if __name__ == "__main__":
    sys.exit(main())
