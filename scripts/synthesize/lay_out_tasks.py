"""Lay out what was written about each case as tasks with loss weights: caption, summary, link, captions to summary.

Train rows rest on the teacher's summary, dev and test rows on the record's own: a record without one has no such row,
and the list of what was dropped says so. `augmented.json` holds the cases as `{global_summary, elements}`.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from finetrail.examples.picture_tasks import SEEN_SENTENCES, SHOWN_IMAGES, task_prompt
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, content_id, read_table
from finetrail.rows.row_file import RowFile
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.text.sentences import sentences

SETTINGS = ("synthesize.task_weights",)

NO_SUMMARY = "the record has no summary"
NO_CAPTION = "the image has no caption: it was set aside, or there is no discussion to link it to"
NO_IMAGES = "the record has no caption"
WITHHELD = "the record is withheld"


class Told(NamedTuple):
    """What is known of a case when its tasks are laid out."""

    record: Row
    split: str
    summary: str | None
    by_teacher: bool
    calls: list[str]
    captions: list[tuple[Row, list[str], list[str]]]


def gather(record: Row, split: str, written: RowFile, summaries: RowFile) -> Told:
    """Put a record together with what was written about it; what its file has already is taken from there."""
    case = record["case"]
    captions: list[tuple[Row, list[str], list[str]]] = []
    for image in case["images"]:
        if image["caption"] is not None:
            captions.append((image, sentences(image["caption"]), []))
        elif (row_id := content_id("image", record["id"], image["path"])) in written:
            captions.append((image, written[row_id]["sentences"], written[row_id]["calls"]))
    made = summaries[record["id"]] if split == "train" and record["id"] in summaries else None
    summary = made["summary"] if made else case["summary"]
    return Told(record, split, summary, made is not None, made["calls"] if made else [], captions)


def tasks_of(told: Told) -> Iterator[Row | tuple[str, str]]:
    """Yield the tasks of a case, or (kind, reason) of those that it cannot have."""
    seen = [f"- {image['cond_name']}: {' '.join(text[:SEEN_SENTENCES])}" for image, text, _ in told.captions]
    described = {image["path"] for image, _, _ in told.captions}
    for image in told.record["case"]["images"]:
        if image["path"] not in described:
            yield from (("caption", NO_CAPTION), ("link", NO_CAPTION))
        if told.summary is None:
            yield ("summary", NO_SUMMARY)
        else:
            yield _task(told, "summary", told.summary, image, {"cond_name": image["cond_name"]}, told.calls)
    for image, text, calls in told.captions:
        yield _task(told, "caption", " ".join(text), image, {}, calls)
        if told.summary is None:
            yield ("link", NO_SUMMARY)
        else:
            parts = {"seen": text[:SEEN_SENTENCES], "told": sentences(told.summary)}
            yield _task(told, "link", text[SEEN_SENTENCES], image, parts, [*calls, *told.calls])
    if told.summary is None or not seen:
        yield ("text_summary", NO_IMAGES if told.summary else NO_SUMMARY)
    else:
        calls = [call for _, _, made in told.captions for call in made] + told.calls
        yield _task(told, "text_summary", told.summary, None, {"captions": seen}, calls)


def _task(told: Told, kind: str, answer: str, image: Row | None, parts: dict[str, Any], calls: Sequence[str]) -> Row:
    record = told.record
    teacher = calls and (told.by_teacher or kind in ("caption", "link"))
    shown = image if kind in SHOWN_IMAGES else None
    return {
        "id": content_id("task", kind, record["id"], image["path"] if image else ""),
        "parents": [record["id"]],
        "record_id": record["id"],
        "session_id": content_id("task session", kind, record["id"], image["path"] if image else ""),
        "turn": 0,
        "kind": kind,
        "question": task_prompt(kind, parts),
        "answer": answer,
        "image": {"path": shown["path"], "sha256": shown["sha256"]} if shown else None,
        "history": [],
        "task": {
            "cond_name": image["cond_name"] if image else None,
            "parts": parts,
            "rests_on": "teacher" if teacher else "record",
        },
        "calls": list(dict.fromkeys(calls)),
    }


def augmented(told: Told) -> Row | None:
    """Return a case in the augmented layout; None where something of it is missing."""
    if told.summary is None or not told.captions:
        return None
    elements = [
        {"image_rel_path": image["path"], "cond_name": image["cond_name"], "caption": " ".join(text)}
        for image, text, _ in told.captions
    ]
    return {"global_summary": told.summary, "split": told.split, "elements": elements}


def work(step: Step, args: argparse.Namespace) -> None:
    """Write train tasks, those of dev and test, what was dropped, and the augmented cases."""
    weights: dict[str, float] = step.settings["synthesize"]["task_weights"]
    splits = {name: row["split"] for name, row in read_table(args.splits).items()}
    train, held_out = step.writer(args.out), step.writer(args.held_out)
    dropped = step.writer(args.dropped, may_be_empty=True)
    reasons: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    cases: dict[str, Row] = {}

    def drop(record: Row, kind: str, reason: str) -> None:
        reasons[reason] += 1
        dropped.write({"record_id": record["id"], "kind": kind, "reason": reason})

    with RowFile(args.rows) as written, RowFile(args.summaries) as summaries:
        for record in step.rows(args.records):
            split = splits[record["id"]]
            if split == "withheld":
                drop(record, "case", WITHHELD)
                continue
            told = gather(record, split, written, summaries)
            if case := augmented(told):
                cases[record["case"]["name"]] = case
            for task in tasks_of(told):
                if isinstance(task, tuple):
                    drop(record, *task)
                    continue
                counts[f"{split}: {task['kind']}"] += 1
                task["task"]["weight"] = weights[task["kind"]]
                (train if split == "train" else held_out).write(task)
    step.file(args.augmented).write_text(render_json(cases), encoding="utf-8")
    kept = train.count + held_out.count
    step.count(rows_in=kept + sum(reasons.values()), kept=kept, dropped=reasons)
    step.facts["tasks"] = dict(sorted(counts.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "captions.jsonl")
    add_input(parser, "--records", "records.jsonl")
    add_input(parser, "--splits", "splits.jsonl")
    add_input(parser, "--summaries", "summaries.jsonl")
    add_output(parser, "--out", "synthetic.jsonl")
    add_output(parser, "--held-out", "questions.jsonl: the tasks of dev and test")
    add_output(parser, "--dropped", "synthetic.dropped.jsonl")
    add_output(parser, "--augmented", "augmented.json: the cases in the augmented layout")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
