"""Lay out each test question in several ways: as deployed, closed-book, and with gold passages among distractors.

As deployed it shows what was retrieved. Closed-book (no passage) and gold passages alone are the bounds between which
retrieval can move a model; distractors are the passages that retrieval ranks highest among those that are not gold.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence

from finetrail.chat.bundles import Shown, cite, evidence_of, target_text
from finetrail.chat.layouts import turn_of
from finetrail.examples.curriculum import Passage, Question
from finetrail.retrieval.passage_file import PassageFile
from finetrail.retrieval.questions import Pages, question_of
from finetrail.rows.records import Row, derive_seed, read_rows
from finetrail.rows.row_file import RowFile
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("evaluate.distractors", "evaluate.seed")

AS_DEPLOYED = "retrieved"


def conditions(question: Question, distractors: Sequence[int], seed: int) -> Iterator[tuple[str, list[Passage]]]:
    """Yield the name of each further condition and the passages that it shows."""
    gold = {passage["id"] for passage in question.gold}
    others = [passage for passage in question.retrieved if passage["id"] not in gold]
    yield "closed_book", []
    for count in distractors:
        shown = [*question.gold, *others[:count]]
        random.Random(derive_seed("condition", seed, question.row_id, count)).shuffle(shown)
        yield f"gold_{count}", shown


def laid_out(row: Row, name: str, question: Question, passages: Sequence[Passage]) -> Row:
    """Lay the row out with other passages."""
    pages = [Shown.of(passage) for passage in passages]
    evidence = [evidence_of(passage) for passage in passages]
    target = target_text(row["answer"], cite(pages, question.facts))
    turns = [{"role": "user", "content": turn_of(row, evidence)}, {"role": "assistant", "content": target}]
    return row | {
        "id": f"{row['id']}:{name}",
        "parents": [row["id"]],
        "session_id": f"{row['session_id']}:{name}",
        "condition": name,
        "evidence": evidence,
        "passages": [{"passage_id": p["id"], "start": 0, "end": len(p["text"])} for p in passages],
        "messages": [*row["messages"][:-2], *turns],
        "hops": row["hops"] | {"shown": pages},
    }


def work(step: Step, args: argparse.Namespace) -> None:
    """Write every test row in every condition, condition after condition for each row."""
    settings = step.settings["evaluate"]
    pages = Pages(read_rows(args.passages))
    out = step.writer(args.out)
    asked = 0
    with RowFile(args.rows) as found, PassageFile(args.passages) as texts:
        for row in step.rows(args.test, "questions"):
            asked += 1
            out.write(row | {"condition": AS_DEPLOYED})
            question = question_of(found[row["record_id"]], pages, texts)
            for name, passages in conditions(question, settings["distractors"], settings["seed"]):
                out.write(laid_out(row, name, question, passages))
    ways = 2 + len(settings["distractors"])
    step.facts["conditions"] = ways
    step.count(rows_in=ways * asked, kept=out.count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--test", "the fold's test.jsonl")
    add_input(parser, "--rows", "reranked.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "the rows in every condition")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
