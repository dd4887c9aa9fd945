"""Keep the replies whose answer equals the key, read strictly, and list all the others with the reason."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from finetrail.examples.choices import Unreadable, answer_text, read_reply
from finetrail.rows.records import Row, content_id, sha256_text
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("synthesize.kind", "synthesize.keep")

NOT_KEY = "the answer is not the key"
CUT = "the reply was cut at its greatest length"
REPEATED = "the same reply to the same prompt"
NOT_BEST = "another reply about the record was kept"


def fault_of(row: Row) -> str | None:
    """Say why a reply cannot be trained on; None where it can."""
    if row["finish_reason"] == "length":
        return CUT
    try:
        answer = read_reply(row["reply"], row["choice"]).answer
    except Unreadable as error:
        return str(error)
    return None if answer == row["choice"]["key"] else NOT_KEY


def example(row: Row, kind: str) -> Row:
    """Make a training example of a reply: its text as it is, but for white space around it."""
    choice = row["choice"]
    return {
        "id": content_id("example", row["id"]),
        "parents": [row["id"]],
        "record_id": row["record_id"],
        "kind": kind,
        "answer": row["reply"].strip(),
        "verdict": {"correct": True, "reason": f"the answer is the key, {answer_text(choice, choice['key'])}"},
        "calls": row["calls"],
        "session_id": row["session_id"],
        "turn": row["turn"],
        "question": row["question"],
        "history": [],
        "image": None,
        "choice": choice,
    }


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the examples, and what was dropped."""
    settings = step.settings["synthesize"]
    out = step.writer(args.out)
    dropped = step.writer(args.dropped, may_be_empty=True)
    reasons: Counter[str] = Counter()
    kept: dict[str, str] = {}
    first: dict[str, str] = {}
    seen: set[str] = set()
    for row in step.rows(args.rows, "replies"):
        seen.add(row["record_id"])
        text = sha256_text(f"{row['question']}\0{row['reply'].strip()}")
        fault, winner = fault_of(row), None
        if fault is None and text in kept:
            fault, winner = REPEATED, kept[text]
        elif fault is None and settings["keep"] == "best" and row["record_id"] in first:
            fault, winner = NOT_BEST, first[row["record_id"]]
        if fault is None:
            kept[text] = first[row["record_id"]] = row["id"]
            out.write(example(row, settings["kind"]))
            continue
        reasons[fault] += 1
        dropped.write(
            {"id": row["id"], "record_id": row["record_id"], "kind": "reply", "reason": fault, "winner": winner}
        )
    step.count(rows_in=out.count + reasons.total(), kept=out.count, dropped=reasons)
    step.facts["records"] = {"in": len(seen), "answered": len(first), "dropped": len(seen - first.keys())}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "replies.jsonl")
    add_output(parser, "--out", "synthetic.jsonl")
    add_output(parser, "--dropped", "synthetic.dropped.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
