"""Make the pairs that the labeller is calibrated on: exactly those that people have labelled, and planted ones.

A planted pair shows a record a passage that recall did not find for it, which a labeller should not take. Each passage
is shown by its best chunk, as the labeller sees it in its real work. What cannot be used is listed with its reason.
Where the labeller sees gold answers, only pairs of train records are used.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.records import Row, derive_seed, read_jsonl, read_rows, read_table
from finetrail.retrieval.rerank import ChunkRanker, chunk_rows
from finetrail.step import RowWriter, Step, add_input, add_output, run_step, step_parser

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
    """Gathers the pairs of each record."""

    def __init__(self, rows: Mapping[str, Row], passages: set[str], dropped: RowWriter) -> None:
        self.pairs: dict[str, dict[str, tuple[str, bool]]] = {}
        self.counts: Counter[str] = Counter()
        self._rows, self._passages, self._dropped = rows, passages, dropped

    def add(self, row: Row | None, pair: Row, *, held_out: bool) -> None:
        """Take a pair of people, or list it with the reason why not.

        Raises:
            FinetrailError: the pair was labelled twice.
        """
        reason = self._why_not(row, pair, held_out)
        if reason or row is None:
            self.counts[reason] += 1
            self._dropped.write({**pair, "reason": reason})
            return
        known = self.pairs.setdefault(row["id"], {})
        if pair["passage_id"] in known:
            raise FinetrailError("the pair was labelled before", where=pair["where"], hint="Keep one label a pair")
        known[pair["passage_id"]] = (HUMAN, pair["relevant"])

    def _why_not(self, row: Row | None, pair: Row, held_out: bool) -> str:
        if pair["relevant"] is None:
            return MIXED
        if row is None:
            return NO_RECORD
        if pair["passage_id"] not in self._passages:
            return NO_PASSAGE
        return HELD_OUT if held_out else ""

    def plant(self, row: Row, seed: int) -> None:
        """Give a record a passage that is neither among its candidates nor among its labelled ones."""
        known = {candidate["passage_id"] for candidate in row["candidates"]} | set(self.pairs.get(row["id"], {}))
        strangers = sorted(self._passages - known)
        if strangers:
            chosen = strangers[derive_seed(seed, "planted passage", row["id"]) % len(strangers)]
            self.pairs.setdefault(row["id"], {})[chosen] = (PLANTED, False)


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


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a record with pairs, and the pairs that cannot be used."""
    settings: dict[str, Any] = step.settings["label"]
    calibration = settings["calibration"]
    splits = {name: row["split"] for name, row in read_table(args.splits).items()}
    rows = {row["id"]: row for row in step.rows(args.rows, "records")}
    turns = {row["origin"]["interaction_id"]: row for row in rows.values() if "interaction_id" in row["origin"]}
    allowed = {name for name in rows if not settings["show_answer"] or splits[name] == "train"}
    passages = {row["id"] for row in read_rows(args.passages)}
    pairing = Pairing(rows, passages, step.writer(args.dropped, may_be_empty=True))
    for pair in read_gold(args.gold):
        row = turns.get(pair["interaction_id"])
        pairing.add(row, pair, held_out=row is not None and row["id"] not in allowed)
    shuffled = sorted(allowed, key=lambda name: (derive_seed(calibration["seed"], "planted", name), name))
    for name in shuffled[: calibration["planted"]]:
        pairing.plant(rows[name], calibration["seed"])
    ranker = ChunkRanker(read_rows(args.passages), max_words=step.settings["rerank"]["chunk_words"])
    out = step.writer(args.out)
    counts: Counter[str] = Counter()
    for name, row in rows.items():
        if name in pairing.pairs:
            made = paired_row(row, pairing.pairs[name], ranker)
            counts.update(one["origin"] for one in made["expected"])
            out.write(made)
    step.facts["pairs"] = {**{origin: counts[origin] for origin in (HUMAN, PLANTED)}, "dropped": dict(pairing.counts)}
    step.count(rows_in=len(rows), kept=out.count, dropped={"no pair": len(rows) - out.count})


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
