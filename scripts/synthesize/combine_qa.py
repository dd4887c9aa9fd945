"""Put generated and existing pairs together: those of train to be validated, those of dev and test as they are.

A share of the questions about train documents (`synthesize.seen_questions`) is not trained on but asked in the test:
new questions on seen documents. Which, a hash of the question's words decides, so that the same question about another
chunk goes the same way. A generated pair whose quotation is not in its chunk is dropped, and listed with the reason.
"""

import argparse
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from finetrail.rows.records import Row, read_rows, unit_interval
from finetrail.rows.row_file import RowFile
from finetrail.splits.split_table import Assigned
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("synthesize.seen_questions",)

NO_SUPPORT = "its quotation is not in its chunk"
EMPTY = "no question or no answer"
REPEATED = "the same question about the same chunk"
ASKED_TWICE = "the same new question on the same seen text"

TRAIN, SEEN, HELD_OUT = "train", "seen", "held out"


class Sorted(NamedTuple):
    """A pair, where it goes, and why it is of no use where it is not."""

    row: Row
    place: str
    fault: str | None


def question_words(row: Row) -> str:
    """Return a pair's question without case and white space."""
    return " ".join(row["question"].casefold().split())


def fault_of(row: Row, place: str, asked: set[tuple[str, str]]) -> str | None:
    """Say why a pair is of no use; None where it is."""
    if not row["question"] or not row["answer"]:
        return EMPTY
    if row["kind"] == "generated" and row["support"] is None:
        return NO_SUPPORT
    question = (row["document_text"] if place == SEEN else row["record_id"], question_words(row))
    if question in asked:
        return ASKED_TWICE if place == SEEN else REPEATED
    asked.add(question)
    return None


def generated(row: Row, record: Row) -> Row:
    """Make a row of a generated pair; `support` is a span of the chunk, `support_text` what stands there."""
    chunk = record["chunk"]
    return {
        **{key: row[key] for key in ("id", "parents", "record_id")},
        "kind": "generated",
        **{key: row[key] for key in ("question", "answer", "style", "support")},
        "support_text": chunk["text"][slice(*row["support"])] if row["support"] else None,
        "support_start": chunk["start"] + row["support"][0] if row["support"] else None,
        "context": chunk["text"],
        "title": chunk["title"],
        "file": chunk["file"],
        "document_text": record["group_keys"]["text"],
        **alone(row["id"], record),
        "calls": row["calls"],
    }


def existing(record: Row) -> Row:
    """Make a row of a pair that was there before."""
    document = record["pair"]["document"]
    return {
        "id": record["id"],
        "parents": [record["id"]],
        "record_id": record["id"],
        "kind": "existing",
        **{key: record[key] for key in ("question", "answer")},
        "style": None,
        "support": None,
        "support_text": None,
        "support_start": None,
        "context": record["pair"]["context"],
        "title": document or "",
        "file": document,
        "document_text": record["id"],
        **alone(record["id"], record),
        "calls": [],
    }


def alone(pair_id: str, record: Row) -> Row:
    """Return what makes each pair a conversation of its own: questions about a document do not follow one another."""
    return {"session_id": pair_id, "turn": 0, "history": record["history"], "image": record["image"]}


def all_pairs(args: argparse.Namespace, rows: Iterator[Row]) -> Iterator[Row]:
    """Stream the generated pairs, then the existing ones."""
    with RowFile(args.records) as records:
        yield from (generated(row, records[row["record_id"]]) for row in rows)
    yield from (existing(record) for record in read_rows(args.records) if "pair" in record)


def sort_pairs(pairs: Iterator[Row], assigned: Assigned, seen_share: float) -> Iterator[Sorted]:
    """Say of each pair where it goes."""
    asked: set[tuple[str, str]] = set()
    for row in pairs:
        _, split = assigned.home(row["record_id"])
        drawn = row["kind"] == "generated" and unit_interval("seen questions", question_words(row)) < seen_share
        place = HELD_OUT if split != "train" else SEEN if drawn else TRAIN
        yield Sorted(row, place, fault_of(row, place, asked))


class Asked:
    """The spans of the texts that train pairs ask about."""

    def __init__(self, pairs: Iterator[Sorted]) -> None:
        spans: dict[str, list[tuple[int, int]]] = {}
        for row, place, fault in pairs:
            if place == TRAIN and fault is None and row["support"]:
                spans.setdefault(row["document_text"], []).append(span_of(row))
        self._spans = {text: sorted(found) for text, found in spans.items()}
        self._longest = {text: max(end - start for start, end in found) for text, found in spans.items()}

    def touches(self, row: Row) -> bool:
        """Say whether a train pair rests on some of the words that a pair rests on."""
        start, end = span_of(row)
        found = self._spans.get(row["document_text"], [])
        first = bisect_left(found, (start - self._longest.get(row["document_text"], 0), 0))
        return any(left < end and start < right for left, right in found[first : bisect_left(found, (end, 0))])


def span_of(row: Row) -> tuple[int, int]:
    """Return where a pair's support stands in its document."""
    start: int = row["support_start"]
    return start, start + len(row["support_text"])


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the pairs of train, those of dev and test, and what was dropped."""
    assigned = Assigned(read_rows(args.splits))
    share: float = step.settings["synthesize"]["seen_questions"]
    trained = Asked(sort_pairs(all_pairs(args, read_rows(args.rows)), assigned, share))
    train, held_out = step.writer(args.out), step.writer(args.held_out)
    dropped = step.writer(args.dropped, may_be_empty=True)
    reasons: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for row, place, fault in sort_pairs(all_pairs(args, step.rows(args.rows, "pairs")), assigned, share):
        if fault is not None:
            reasons[fault] += 1
            dropped.write({"id": row["id"], "record_id": row["record_id"], "kind": "pair", "reason": fault})
            continue
        places[place] += 1
        if place == TRAIN:
            train.write(row)
        else:
            held_out.write(row | told(row, place, trained))
    total = places.total() + reasons.total()
    step.count(rows_in=total, kept=places.total(), dropped=reasons)
    step.facts["pairs"] = dict(sorted(places.items()))


def told(row: Row, place: str, trained: Asked) -> Row:
    """Return what the test has to know of a question: what it is to be held to, and whether its fact was trained on."""
    fact = {"fact_trained": trained.touches(row)} if place == SEEN else {}
    return {"reference": row["support_text"] or row["answer"], **fact}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "qa.jsonl")
    add_input(parser, "--records", "records.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_output(parser, "--out", "training_data.jsonl")
    add_output(parser, "--held-out", "questions.jsonl: those of dev and test, and new ones on train documents")
    add_output(parser, "--dropped", "training_data.dropped.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
