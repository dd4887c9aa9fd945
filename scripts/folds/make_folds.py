"""Lay out a fold: train examples from synthesis, and the original dev and test records, untouched.

Every row carries its chat messages and the evidence that they show; the last message is the target. Dev and test
rows show what the deployed system will have: the reranked chunks, whatever a judge would say of them. With several
folds, train and dev are those of the fold's own records, and test is every original record of the others; or, for
k-fold cross-validation, the other way round. Where nothing was synthesized, the train records are the examples, as they
are. A student that searches for itself is taught its queries and its choice beside the answers, in train rows only.
Where questions were made of documents, there are two kinds of test questions: on unseen documents, with the chunk
in the prompt, and new ones on documents that were trained on, without it. Duplicates and contaminated examples are left
out where the recipe asks for it, and listed.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from finetrail.chat.bundles import Shown, cite, evidence_of, target_text
from finetrail.chat.layouts import BUNDLE, turn_of
from finetrail.chat.messages import Evidence, chat_messages, whole_messages
from finetrail.chat.student_tasks import CHOICE, QUERY
from finetrail.errors import FinetrailError
from finetrail.examples.curriculum import within_words
from finetrail.retrieval.passage_file import PassageFile
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, read_rows
from finetrail.splits.grouping import keyed
from finetrail.splits.overlap.benchmarks import benchmark_texts
from finetrail.splits.overlap.contamination import HeldOut, Text
from finetrail.splits.overlap.overlap_filter import Screen
from finetrail.splits.overlap.row_text import row_text
from finetrail.splits.split_table import WITHHELD, Assigned, prove_disjoint
from finetrail.step.step import RowWriter, Step, add_input, add_output, run_step, step_parser

SETTINGS = ("folds", "student", "splits.method", "splits.group_by")
ENVIRONMENT = "data"

SPAN = ("passage_id", "start", "end")
KEPT = ("choice", "scores", "reference", "task")
OF_SEEN = ("fact_trained",)  # in another fold the document is unseen, and nothing of it was trained on
# The kinds of made questions: on a document that was trained on, and on one that was not.
SEEN, UNSEEN = "seen_document", "unseen_document"


class Layout:
    """Turns a record or an example into a fold's row."""

    def __init__(
        self,
        settings: dict[str, Any],
        student: dict[str, Any] | None,
        passages: PassageFile | None,
        assigned: Assigned,
    ) -> None:
        self._asked = {QUERY: student["query_prompt"], CHOICE: student["choice_prompt"]} if student else {}
        self._layout: str = settings["layout"]
        self._system: str = settings["system_prompt"]
        self._most: int = settings["evidence"]
        self._words: int | None = settings.get("evidence_words")
        self._passages = passages
        self._assigned = assigned

    def row(self, source: Row, *, row_id: str, record_id: str, parents: list[str], kind: str) -> Row:
        """Lay out one row; `source` has question, history, image, answer and, behind recall, chunks."""
        if kind == UNSEEN:
            shown = self._with_its_chunk(source)
        elif kind in self._asked:
            shown = self._with_chunks(source, self._asked[kind], None)
        else:
            shown = (
                self._bundle(source) if self._layout == BUNDLE else self._with_chunks(source, self._system, self._most)
            )
        return {
            "id": row_id,
            "parents": parents,
            "record_id": record_id,
            "group": self._assigned.group(record_id),
            "session_id": source["session_id"],
            "turn": source["turn"],
            "kind": kind,
            "question": source["question"],
            "answer": source["answer"],
            "image": source["image"],
            "history": source["history"],
            **shown,
            **{name: source[name] for name in (*KEPT, *(OF_SEEN if kind == SEEN else ())) if name in source},
        }

    def _bundle(self, source: Row) -> Row:
        """Show a made bundle as it is; of a record, what was found, best first, and what is right to say to that."""
        assert self._passages is not None
        names = [p["passage_id"] for p in source["passages" if "target" in source else "chunks"]]
        passages: Sequence[Mapping[str, Any]] = [self._passages[name] for name in names]
        if "target" not in source:
            passages = within_words(passages[: self._most], self._words)
        pages = [Shown.of(passage) for passage in passages]
        hops = {key: value for key, value in source["hops"].items() if key != "context"}
        target = source.get("target") or target_text(source["answer"], cite(pages, hops["supporting_facts"]))
        evidence = [evidence_of(passage) for passage in passages]
        prompt = turn_of(source | {"layout": BUNDLE}, evidence)
        return {
            "layout": BUNDLE,
            "evidence": evidence,
            "passages": [{"passage_id": p["id"], "start": 0, "end": len(p["text"])} for p in passages],
            "messages": whole_messages(self._system, source["history"], prompt, target),
            "hops": hops | {"shown": pages},
            **({"epoch": source["epoch"]} if "epoch" in source else {}),
        }

    def _with_its_chunk(self, source: Row) -> Row:
        """Show the chunk that a question was made of."""
        evidence = [Evidence(title=source["title"], text=" ".join(source["context"].split()))]
        messages = chat_messages(self._system, source["history"], source["question"], evidence, source["answer"])
        return {"evidence": evidence, "passages": [], "messages": messages}

    def _with_chunks(self, source: Row, system: str, most: int | None) -> Row:
        chunks = source["chunks"][:most] if self._passages else []
        evidence = [self._passages.evidence(chunk) for chunk in chunks] if self._passages else []
        if self._layout == "prompt":
            messages = whole_messages(system, source["history"], source["question"], source["answer"])
        else:
            messages = chat_messages(system, source["history"], source["question"], evidence, source["answer"])
        passages = [{key: chunk[key] for key in SPAN} for chunk in chunks]
        return {"evidence": evidence, "passages": passages, "messages": messages}


class Tally:
    """Counts what a file of the fold holds."""

    def __init__(self, writer: RowWriter, assigned: Assigned) -> None:
        self.writer = writer
        self.kinds: Counter[str] = Counter()
        self.groups: set[str] = set()
        self.seen: set[str] = set()
        self.words = 0
        self._assigned = assigned
        self._has_record = bytearray(len(assigned))

    def write(self, row: Row) -> None:
        """Write a row and count it."""
        self.writer.write(row)
        self.kinds[row["kind"]] += 1
        (self.seen if row["kind"] == SEEN else self.groups).add(row["group"])
        self._has_record[self._assigned.number(row["record_id"])] = 1
        self.words += len(row["answer"].split())

    def report(self) -> Row:
        """Return the counts."""
        return {
            "rows": self.writer.count,
            "records": sum(self._has_record),
            "groups": len(self.groups | self.seen),
            "kinds": dict(sorted(self.kinds.items())),
            "mean_answer_words": round(self.words / max(1, self.writer.count), 2),
        }


class Homes:
    """Where the records belong, as one fold sees it.

    Args:
        assigned: what every record was assigned to.
        fold: name of the fold.
        train_on: `own` or `others`, where there are several folds.
    """

    def __init__(self, assigned: Assigned, fold: str, train_on: str) -> None:
        self._assigned = assigned
        self._fold = fold
        self._others = train_on == "others"

    def split(self, record_id: str) -> str:
        """Return train, dev, test or withheld; the records that the fold does not train on are tests."""
        _, split = self._assigned.home(record_id)
        return "test" if split != WITHHELD and self.is_elsewhere(record_id) else split

    def is_elsewhere(self, record_id: str) -> bool:
        """Say whether a record belongs to a fold that this one is tested on."""
        fold, _ = self._assigned.home(record_id)
        return fold is not None and (fold == self._fold) == self._others


def record_of(row: Row) -> str:
    """Return the record that an example was made from; a record that nothing was made from is its own example."""
    return str(row.get("record_id", row["id"]))


def examples_of(rows: Iterable[Row], homes: Homes) -> Iterator[Row]:
    """Yield the train examples of a fold.

    Raises:
        FinetrailError: a synthetic example comes from a record that is not in train.
    """
    for row in rows:
        record_id = record_of(row)
        if homes.split(record_id) == "train":
            yield row
        elif "record_id" in row and not homes.is_elsewhere(record_id):
            raise FinetrailError("an example of a dev or test record cannot be trained on", where=row["id"])


def held_out_rows(args: argparse.Namespace) -> Path:
    """Return the file of what dev and test hold: the records, or the questions that were made of some."""
    path: Path = args.held_out[0] if args.held_out else args.records
    return path


def held_out_texts(args: argparse.Namespace, homes: Homes) -> Iterator[Text]:
    """Yield what training must not have seen: dev, test and the benchmarks."""
    for row in read_rows(held_out_rows(args)):
        split = homes.split(record_of(row))
        if split in ("dev", "test"):
            yield Text(f"{split}:{row['id']}", row_text(row))
    for path in args.benchmarks:
        yield from benchmark_texts(path)


def write_train(rows: Iterable[Row], layout: Layout, tally: Tally) -> None:
    """Write the train examples."""
    for row in rows:
        parents, kind = row.get("parents", [row["id"]]), row.get("kind", "original")
        tally.write(layout.row(row, row_id=row["id"], record_id=record_of(row), parents=parents, kind=kind))


def held_out_home(row: Row, homes: Homes) -> tuple[str, str]:
    """Return the split that a record or a made question is held out in, and its kind.

    A question that was made of a train record, and kept out of training, is asked in the test.
    """
    split = homes.split(record_of(row))
    if row.get("kind") != "generated":
        return split, row.get("kind", "original")
    return ("test", SEEN) if split == "train" else (split, UNSEEN)


def write_held_out(rows: Iterable[Row], layout: Layout, tallies: dict[str, Tally], homes: Homes) -> None:
    """Write the dev and test records, every one of them; or the questions that were made of them."""
    for row in rows:
        split, kind = held_out_home(row, homes)
        if split in tallies:
            parents = row.get("parents", [row["id"]])
            tallies[split].write(
                layout.row(row, row_id=row["id"], record_id=record_of(row), parents=parents, kind=kind)
            )


def rows_due(args: argparse.Namespace, assigned: Assigned, homes: Homes) -> int:
    """Count what belongs into the fold, by the inputs and not by what was written."""
    examples = sum(1 for path in args.rows for _ in examples_of(read_rows(path), homes))
    held_out = (
        (row for path in args.held_out for row in read_rows(path)) if args.held_out else ({"id": i} for i in assigned)
    )
    return examples + sum(held_out_home(row, homes)[0] in ("dev", "test") for row in held_out)


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the three files, what was left out, and the report."""
    assigned = Assigned(read_rows(args.splits))
    settings = step.settings["folds"]
    homes = Homes(assigned, args.fold, settings["train_on"])
    has_dev = any(homes.split(name) == "dev" for name in assigned)
    train, test = (Tally(step.writer(path), assigned) for path in (args.train, args.test))
    dev = Tally(step.writer(args.eval, may_be_empty=not has_dev), assigned)
    screen = Screen(settings, HeldOut(held_out_texts(args, homes)), step.writer(args.dropped, may_be_empty=True))
    with ExitStack() as opened:
        passages = opened.enter_context(PassageFile(args.passages[0])) if args.passages else None
        layout = Layout(settings, step.settings["student"], passages, assigned)
        examples = screen.passed(
            lambda: examples_of((row for path in args.rows for row in step.rows(path, "examples")), homes)
        )
        write_train(examples, layout, train)
        write_held_out(step.rows(held_out_rows(args), "records"), layout, {"dev": dev, "test": test}, homes)
    splits = step.settings["splits"]
    shuffled = splits["method"] == "shuffle"
    overlap = (train.groups & (dev.groups | test.groups)) | (dev.groups & test.groups)
    if overlap and not shuffled:
        raise FinetrailError(f"{len(overlap)} groups straddle train, dev and test", where=min(overlap))
    proof = prove_disjoint(keyed(read_rows(args.records), splits["group_by"]), assigned, allowed=shuffled)
    report = {
        "train": train.report(),
        "eval": dev.report(),
        "test": test.report(),
        "proof": proof | {"groups_in_two_files": len(overlap)},
        "withheld": assigned.withheld,
        **screen.report(),
    }
    step.file(args.report).write_text(render_json(report), encoding="utf-8")
    kept = train.writer.count + dev.writer.count + test.writer.count
    step.count(rows_in=rows_due(args, assigned, homes), kept=kept, dropped=screen.reasons)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--fold", default="fold0", help="name of the fold")
    add_input(
        parser, "--rows", "synthetic.jsonl, and student_tasks.jsonl where made; or the records themselves", nargs="+"
    )
    add_input(parser, "--records", "the records with what is shown of them, for dev and test")
    add_input(
        parser, "--held-out", "questions of dev and test, where they were made", nargs="*", default=[], required=False
    )
    add_input(parser, "--splits", "splits.jsonl")
    add_input(
        parser, "--passages", "passages.jsonl; none where nothing is searched", nargs="*", default=[], required=False
    )
    add_input(parser, "--benchmarks", "texts that training must not have seen", nargs="*", default=[], required=False)
    add_output(parser, "--train", "train.jsonl")
    add_output(parser, "--eval", "eval.jsonl")
    add_output(parser, "--test", "test.jsonl")
    add_output(parser, "--dropped", "train.dropped.jsonl: examples that were left out, with reasons")
    add_output(parser, "--report", "report.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
