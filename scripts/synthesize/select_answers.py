"""Keep the right answer versions once each, turn some hopeless questions into refusals, and list all the rest.

What is dropped goes into a file of its own, each with its reason: versions in = kept + dropped, and
records in = answered + refused + dropped.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from finetrail.chat.conversations import Conversations
from finetrail.examples.select import Selection, select_versions
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, canonical_json, content_id, derive_seed, read_rows
from finetrail.rows.row_file import RowFile
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = (
    "synthesize.turns",
    "synthesize.keep_original",
    "synthesize.keep",
    "synthesize.refusal_share",
    "synthesize.refusal_text",
    "student",
)

ORIGINAL = -1
OTHER_KIND = "the recipe takes no sessions of this kind (synthesize.turns)"
CURVE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
CARRIED = ("session_id", "turn", "question", "history", "image", "chunks")
CHOOSES = "model"


def original_version(record: Row) -> Row:
    """Make a version of the record's own answer, which needs no judge."""
    return {
        "id": content_id("answer", record["id"], "original", record["answer"]),
        "parents": [record["id"]],
        "record_id": record["id"],
        "version": ORIGINAL,
        "answer": record["answer"],
        "passages": [],
        "calls": [],
        "verdict": {"correct": True, "reason": "the record's own answer"},
    }


def all_versions(step: Step, args: argparse.Namespace) -> Iterator[Row]:
    """Stream the original versions, where the recipe wants them, and then the judged ones."""
    if step.settings["synthesize"]["keep_original"]:
        yield from (original_version(record) for record in read_rows(args.records))
    yield from read_rows(args.rows)


def context_of(record: Row) -> str:
    """Return all that an answer depends on: "What is this?" is another question beside another image."""
    image = record["image"]
    return canonical_json([record["question"], record["history"], image and image.get("sha256")])


def as_shown(record: Row, student: Mapping[str, Any] | None) -> Row:
    """Return a record with the chunks that are shown with its answers: the relevant ones, where the student chooses."""
    if student is None or student["choice"] != CHOOSES:
        return record
    labelled = zip(record["chunks"], record["labels"], strict=True)
    return record | {"chunks": [chunk for chunk, label in labelled if label["relevant"]]}


def example(record: Row, version: Row) -> Row:
    """Make a training example from a record and one of its versions."""
    kind = "original" if version["version"] == ORIGINAL else "answer"
    parents = [version["id"]] if kind == "answer" else version["parents"]
    return {
        "id": content_id("example", version["id"]),
        "parents": parents,
        "record_id": record["id"],
        "kind": kind,
        "answer": version["answer"],
        "verdict": version["verdict"],
        "passages": version["passages"],
        "calls": version["calls"],
        **{name: record[name] for name in CARRIED},
    }


def refusal(record: Row, text: str) -> Row:
    """Make a training example that refuses."""
    return {
        "id": content_id("example", record["id"], "refusal"),
        "parents": [record["id"]],
        "record_id": record["id"],
        "kind": "refusal",
        "answer": text,
        "verdict": {"correct": False, "reason": "no version of the answer was judged correct"},
        "passages": [],
        "calls": [],
        **{name: record[name] for name in CARRIED},
    }


def write_dropped(
    step: Step, args: argparse.Namespace, selection: Selection, unwanted: Sequence[str]
) -> dict[str, int]:
    """Write what was dropped and return the counts of the reasons, of versions only."""
    dropped = step.writer(args.dropped, may_be_empty=True)
    for kind, drops in (("version", selection.dropped_versions), ("record", selection.dropped_records)):
        for drop in drops:
            dropped.write({"id": drop.id, "kind": kind, "reason": drop.reason, "winner": drop.winner})
    for name in unwanted:
        dropped.write({"id": name, "kind": "record", "reason": OTHER_KIND, "winner": None})
    return dict(Counter(drop.reason for drop in selection.dropped_versions))


def refusal_curve(select: Callable[[float], Selection], chosen: float) -> list[Row]:
    """Say what other values of `refusal_share` would give: examples, and those among them that refuse."""
    curve = []
    for share in sorted({*CURVE, chosen}):
        selection = select(share)
        refused, examples = len(selection.refused), len(selection.kept) + len(selection.refused)
        counts = {"examples": examples, "answers": len(selection.kept), "refusals": refused}
        curve.append({"refusal_share": share, **counts, "share_of_refusals": round(refused / max(1, examples), 6)})
    return curve


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the examples, what was dropped, and what other shares of refusals would give."""
    settings, student = step.settings["synthesize"], step.settings["student"]
    conversations = Conversations(read_rows(args.originals))
    contexts: dict[str, str] = {}
    unwanted: list[str] = []
    kinds: dict[str, str] = {}
    for row in step.rows(args.records, "records"):
        kinds[row["id"]] = conversations.turns(row)
        if conversations.takes(row, settings["turns"]):
            contexts[row["id"]] = context_of(row)
        else:
            unwanted.append(row["id"])

    def versions() -> Iterator[Row]:
        return (version for version in all_versions(step, args) if version["record_id"] in contexts)

    def select(share: float) -> Selection:
        return select_versions(
            versions(), contexts, keep=settings["keep"], refusal_share=share, seed=derive_seed(step.rule)
        )

    selection = select(settings["refusal_share"])
    kept = set(selection.kept)
    out = step.writer(args.out)
    total = 0
    with RowFile(args.records) as records:
        for version in versions():
            total += 1
            if version["id"] in kept:
                record = as_shown(records[version["record_id"]], student)
                out.write(example(record, version) | {"turns": kinds[record["id"]]})
        for record_id in selection.refused:
            record = as_shown(records[record_id], student)
            out.write(refusal(record, settings["refusal_text"]) | {"turns": kinds[record_id]})
    report = {"refusal_share": settings["refusal_share"], "curve": refusal_curve(select, settings["refusal_share"])}
    step.file(args.report).write_text(render_json(report), encoding="utf-8")
    step.count(rows_in=total, kept=len(kept), dropped=write_dropped(step, args, selection, unwanted))
    step.facts["records"] = {
        "in": len(kinds),
        "answered": len(contexts) - len(selection.refused) - len(selection.dropped_records),
        "refused": len(selection.refused),
        "dropped": len(selection.dropped_records) + len(unwanted),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "judged.jsonl")
    add_input(parser, "--records", "relevant.jsonl")
    add_input(parser, "--originals", "records.jsonl")
    add_output(parser, "--out", "synthetic.jsonl")
    add_output(parser, "--dropped", "synthetic.dropped.jsonl")
    add_output(parser, "--report", "refusals.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
