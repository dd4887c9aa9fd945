"""Make the pairs that the labeller is calibrated on: exactly those that people have labelled, and planted ones.

A planted pair shows a record a passage that recall did not find for it, which a labeller should not take. Each passage
is shown by its best chunk, as the labeller sees it in its real work. What cannot be used is listed with its reason.
Where the labeller sees gold answers, only pairs of train records are used.
"""

import argparse
import heapq
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.retrieval.rerank import ChunkRanker, chunk_rows
from finetrail.rows.records import Row, derive_seed, read_jsonl, read_rows
from finetrail.rows.row_file import RowFile, place_without
from finetrail.step.step import RowWriter, Step, add_input, add_output, run_step, step_parser

SETTINGS = ("label.calibration", "label.show_answer", "rerank.chunk_words")
ENVIRONMENT = "data"

HUMAN, PLANTED = "human", "planted"
VERDICTS = {"yes": True, "no": False, True: True, False: False}
MIXED = "people disagree on the pair"
NO_RECORD = "its record is not in this run"
NO_PASSAGE = "its passage is not in the corpus"
HELD_OUT = "its record is of dev or test, and the labeller sees gold answers"


def read_gold(files: Sequence[Path]) -> Iterator[Row]:
    """Yield people's labels as ``{"interaction_id", "passage_id", "relevant", "where"}``; None: they disagree.

    Raises:
        FinetrailError: names the line without an id or with another label than yes, no or mixed.
    """
    for path in files:
        for line in read_jsonl(path):
            where, row = f"{path}:{line.number}", line.row
            turn = row.get("interaction_id", row.get("task_id"))
            passage = row.get("passage_id", row.get("document_id"))
            label = row.get("label")
            if not isinstance(turn, str) or not isinstance(passage, str):
                hint = "A pair has `interaction_id` (or `task_id`) and `passage_id` (or `document_id`)"
                raise FinetrailError("the label names no turn or no passage", where=where, hint=hint)
            if label != "mixed" and label not in VERDICTS:
                raise FinetrailError(f"label is {label!r}, expected yes, no or mixed", where=where)
            verdict = None if label == "mixed" else VERDICTS[label]
            yield {"interaction_id": turn, "passage_id": passage, "relevant": verdict, "where": where}


class Pairing:
    """Gathers the pairs of each record.

    Args:
        passages: ids of all passages, sorted.
        dropped: gets the pairs that cannot be used.
    """

    def __init__(self, passages: Sequence[str], dropped: RowWriter) -> None:
        self.pairs: dict[str, dict[str, tuple[str, bool]]] = {}
        self.counts: Counter[str] = Counter()
        self._passages, self._dropped = passages, dropped

    def add(self, record: str | None, pair: Row, *, held_out: bool) -> None:
        """Take a pair of people, or list it with the reason why not.

        Raises:
            FinetrailError: the pair was labelled twice.
        """
        reason = self._why_not(record, pair, held_out)
        if reason or record is None:
            self.counts[reason] += 1
            self._dropped.write({**pair, "reason": reason})
            return
        known = self.pairs.setdefault(record, {})
        if pair["passage_id"] in known:
            raise FinetrailError("the pair was labelled before", where=pair["where"], hint="Keep one label a pair")
        known[pair["passage_id"]] = (HUMAN, pair["relevant"])

    def _why_not(self, record: str | None, pair: Row, held_out: bool) -> str:
        if pair["relevant"] is None:
            return MIXED
        if record is None:
            return NO_RECORD
        if self._place(pair["passage_id"]) is None:
            return NO_PASSAGE
        return HELD_OUT if held_out else ""

    def plant(self, row: Row, seed: int) -> None:
        """Give a record a passage that is neither among its candidates nor among its labelled ones."""
        known = {candidate["passage_id"] for candidate in row["candidates"]} | set(self.pairs.get(row["id"], {}))
        left_out = [place for name in known if (place := self._place(name)) is not None]
        if count := len(self._passages) - len(left_out):
            chosen = place_without(derive_seed(seed, "planted passage", row["id"]) % count, left_out)
            self.pairs.setdefault(row["id"], {})[self._passages[chosen]] = (PLANTED, False)

    def _place(self, name: str) -> int | None:
        place = bisect_left(self._passages, name)
        return place if place < len(self._passages) and self._passages[place] == name else None


def paired_row(row: Row, pairs: Mapping[str, tuple[str, bool]], ranker: ChunkRanker) -> Row:
    """Make a row that a labeller takes: the chunks to label, and what is expected of each."""
    query = " ".join(query["text"] for query in row["queries"])
    names = sorted(pairs)
    best = list(ranker.rank([query] * len(names), [[name] for name in names], keep=1))
    kept = [(name, chunks) for name, chunks in zip(names, best, strict=True) if chunks]
    return {
        **{name: row[name] for name in ("id", "session_id", "turn", "question", "answer", "image", "history")},
        "chunks": [chunk for _, chunks in kept for chunk in chunk_rows(chunks)],
        "expected": [{"origin": pairs[name][0], "relevant": pairs[name][1]} for name, _ in kept],
    }


def pair_people(
    pairing: Pairing, gold: Sequence[Path], turns: Mapping[str, str], is_allowed: Callable[[str], bool]
) -> None:
    """Take the pairs of people.

    Args:
        pairing: gets them.
        gold: files of people's labels.
        turns: interaction id → record, of all records that people labelled.
        is_allowed: whether pairs of a record may be used.
    """
    for pair in read_gold(gold):
        record = turns.get(pair["interaction_id"])
        pairing.add(record, pair, held_out=record is not None and not is_allowed(record))


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a record with pairs, and the pairs that cannot be used."""
    settings: dict[str, Any] = step.settings["label"]
    calibration = settings["calibration"]
    # The labeller may have seen the gold answers of these.
    held_out = {row["id"] for row in read_rows(args.splits) if settings["show_answer"] and row["split"] != "train"}
    asked = {pair["interaction_id"] for pair in read_gold(args.gold)}
    turns: dict[str, str] = {}
    for row in step.rows(args.rows, "records"):
        if (turn := row["origin"].get("interaction_id")) in asked:
            turns[turn] = row["id"]
    passages = sorted(row["id"] for row in read_rows(args.passages))
    pairing = Pairing(passages, step.writer(args.dropped, may_be_empty=True))
    pair_people(pairing, args.gold, turns, lambda record: record not in held_out)
    with RowFile(args.rows) as rows:
        keyed = ((derive_seed(calibration["seed"], "planted", name), name) for name in rows.names())
        for _, name in heapq.nsmallest(calibration["planted"], (key for key in keyed if key[1] not in held_out)):
            pairing.plant(rows[name], calibration["seed"])
        ranker = ChunkRanker(read_rows(args.passages), max_words=step.settings["rerank"]["chunk_words"])
        out = step.writer(args.out)
        counts: Counter[str] = Counter()
        for name in rows.names():
            if name in pairing.pairs:
                made = paired_row(rows[name], pairing.pairs[name], ranker)
                counts.update(one["origin"] for one in made["expected"])
                out.write(made)
        count = len(rows.names())
    step.facts["pairs"] = {**{origin: counts[origin] for origin in (HUMAN, PLANTED)}, "dropped": dict(pairing.counts)}
    step.count(rows_in=count, kept=out.count, dropped={"no pair": count - out.count})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "recall.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--gold", "files of people's labels", nargs="*")
    add_output(parser, "--out", "calibration/pairs.jsonl")
    add_output(parser, "--dropped", "calibration/pairs.dropped.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
