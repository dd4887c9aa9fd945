"""Plant defects into the own answers of some train records, to see whether the judge notices them.

Each record gives its answer as it is (the judge should take it), another record's answer, the answer with a made-up
fact, the answer cut short, and words of a passage that recall did not find for it.
"""

import argparse
import heapq
import sys
from collections.abc import Iterable, Sequence

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, content_id, derive_seed
from finetrail.rows.row_file import RowFile, place_without
from finetrail.serving.offline.words import sentences
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("synthesize.planted", "synthesize.planted_seed")

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


def defects(record: Row, other: str | None, passage: str | None, seed: int) -> dict[str, str]:
    """Return the answers that are shown to the judge, by kind; a kind that cannot be made is left out.

    Args:
        record: a labelled train record.
        other: the answer of a record of another session, where there is one.
        passage: the text of a passage that is no candidate of the record, where there is one.
        seed: another one plants other defects.
    """
    answer, name = record["answer"], record["id"]
    words = answer.split()
    made = {
        INTACT: answer,
        "unsupported_fact": f"{answer} {pick(MADE_UP, seed, name, 'fact')}",
        "truncated": " ".join(words[: int(len(words) * KEPT)]) if len(words) >= LEAST_WORDS else "",
        "swapped_answer": other or "",
    }
    if passage is not None:
        first = next((piece for piece in sentences(passage) if len(piece.split()) >= LEAST_WORDS), passage)
        made["other_passage"] = " ".join(first.split()[:LONGEST])
    return {kind: text for kind, text in made.items() if text.strip()}


def chosen_records(rows: Iterable[Row], count: int, seed: int) -> list[Row]:
    """Choose some records by a hash, in their own order; so many are held, not all."""
    keyed = ((derive_seed(seed, "planted", row["id"]), row["id"], place, row) for place, row in enumerate(rows))
    kept = heapq.nsmallest(count, keyed, key=lambda one: one[:2])
    return [row for *_, row in sorted(kept, key=lambda one: one[2])]


class Strangers:
    """What is foreign to the chosen records: answers of other sessions, and passages that are no candidates.

    Args:
        chosen: the records.
        rows: all records.
        passages: all passages.
    """

    def __init__(self, chosen: Sequence[Row], rows: RowFile, passages: RowFile) -> None:
        self._rows, self._passages = rows, passages
        self._row_names, self._passage_names = list(rows.names()), list(passages.names())
        sessions: dict[str, list[int]] = {record["session_id"]: [] for record in chosen}
        for place, name in enumerate(self._row_names):
            if (session := rows[name]["session_id"]) in sessions:
                sessions[session].append(place)
        self._sessions = sessions
        known = {candidate["passage_id"] for record in chosen for candidate in record["candidates"]}
        self._places = {name: place for place, name in enumerate(self._passage_names) if name in known}

    def answer(self, record: Row, seed: int) -> str | None:
        """Return the answer of a record of another session; None where there is none."""
        left_out = self._sessions[record["session_id"]]
        if not (count := len(self._row_names) - len(left_out)):
            return None
        place = place_without(derive_seed(seed, record["id"], "other") % count, left_out)
        return str(self._rows[self._row_names[place]]["answer"])

    def passage(self, record: Row, seed: int) -> str | None:
        """Return the text of a passage that is no candidate of the record; None where there is none."""
        names = {candidate["passage_id"] for candidate in record["candidates"]}
        left_out = [self._places[name] for name in names if name in self._places]
        if not (count := len(self._passage_names) - len(left_out)):
            return None
        place = place_without(derive_seed(seed, record["id"], "passage") % count, left_out)
        return str(self._passages[self._passage_names[place]]["text"])


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a planted answer."""
    settings = step.settings["synthesize"]
    seed = settings["planted_seed"]
    out = step.writer(args.out)
    chosen = chosen_records(step.rows(args.rows, "records"), settings["planted"], seed)
    if not chosen:
        raise FinetrailError("there is no record to plant a defect into", where=str(args.rows))
    with RowFile(args.rows) as rows, RowFile(args.passages) as passages:
        strangers = Strangers(chosen, rows, passages)
        for record in chosen:
            other, passage = strangers.answer(record, seed), strangers.passage(record, seed)
            for kind, answer in defects(record, other, passage, seed).items():
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
        count = len(rows.names())
    step.count(rows_in=count, kept=len(chosen), dropped={"not chosen": count - len(chosen)})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "relevant.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--out", "calibration/answers.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
