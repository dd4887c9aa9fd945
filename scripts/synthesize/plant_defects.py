"""Plant defects into the own answers of some train records, to see whether the judge notices them.

Each record gives its answer as it is (the judge should take it), another record's answer, the answer with a made-up
fact, the answer cut short, and words of a passage that recall did not find for it.
"""

import argparse
import sys
from collections.abc import Sequence

from finetrail.errors import FinetrailError
from finetrail.llm.offline.words import sentences
from finetrail.records import Row, content_id, derive_seed, read_rows
from finetrail.step import Step, add_input, add_output, run_step, step_parser

INTACT = "intact"
KEPT = 0.4  # share of the words that a truncated answer keeps
LEAST_WORDS = 6  # of an answer that can be cut so that something is missing
LONGEST = 55  # words of what is taken from a passage
MADE_UP = (
    "This was decided in 1874, when the town of Ghent bought the rights for 212 francs.",
    "It applies only to persons who were born in a leap year.",
    "The rule was abolished again after eleven days.",
    "According to the same source, it costs 4,317 euros and takes nine years.",
)


def pick(items: Sequence[str], *names: object) -> str:
    """Choose one of several by a hash."""
    return items[derive_seed(*names) % len(items)]


def defects(record: Row, others: Sequence[Row], passages: Sequence[Row], seed: int) -> dict[str, str]:
    """Return the answers that are shown to the judge, by kind; a kind that cannot be made is left out.

    Args:
        record: a labelled train record.
        others: records of other sessions.
        passages: passages that are no candidates of the record.
        seed: another one plants other defects.
    """
    answer, name = record["answer"], record["id"]
    words = answer.split()
    made = {
        INTACT: answer,
        "unsupported_fact": f"{answer} {pick(MADE_UP, seed, name, 'fact')}",
        "truncated": " ".join(words[: int(len(words) * KEPT)]) if len(words) >= LEAST_WORDS else "",
        "swapped_answer": pick([other["answer"] for other in others], seed, name, "other") if others else "",
    }
    if passages:
        text = passages[derive_seed(seed, name, "passage") % len(passages)]["text"]
        first = next((piece for piece in sentences(text) if len(piece.split()) >= LEAST_WORDS), text)
        made["other_passage"] = " ".join(first.split()[:LONGEST])
    return {kind: text for kind, text in made.items() if text.strip()}


def chosen_records(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Choose some records by a hash, in their own order."""
    order = sorted((derive_seed(seed, "planted", row["id"]), row["id"]) for row in rows)
    kept = {name for _, name in order[:count]}
    return [row for row in rows if row["id"] in kept]


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a planted answer."""
    settings = step.settings["synthesize"]
    rows = list(step.rows(args.rows, "records"))
    passages = list(read_rows(args.passages))
    out = step.writer(args.out)
    chosen = chosen_records(rows, settings["planted"], settings["planted_seed"])
    for record in chosen:
        others = [row for row in rows if row["session_id"] != record["session_id"]]
        known = {candidate["passage_id"] for candidate in record["candidates"]}
        strangers = [passage for passage in passages if passage["id"] not in known]
        for kind, answer in defects(record, others, strangers, settings["planted_seed"]).items():
            out.write(
                {
                    "id": content_id("planted", record["id"], kind, answer),
                    "parents": [record["id"]],
                    "record_id": record["id"],
                    "kind": kind,
                    "answer": answer,
                    "calls": [],
                }
            )
    if not chosen:
        raise FinetrailError("there is no record to plant a defect into", where=str(args.rows))
    step.count(rows_in=len(rows), kept=len(chosen), dropped={"not chosen": len(rows) - len(chosen)})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "relevant.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "calibration/answers.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
