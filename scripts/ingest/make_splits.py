"""Give every record to train, dev or test, and to one of several folds, before anything is synthesized.

Records that an earlier assignment knows (`splits.previous`) stay where they are. A new one that would join groups of
two places is withheld: its split is `withheld`, its reason says what it would have joined, and nothing reads it.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, read_rows, read_table
from finetrail.splits.assign import Draw, assign, assign_folds
from finetrail.splits.grouping import Grouping, chosen_keys, keyed
from finetrail.splits.held_out import hold_out
from finetrail.splits.overlap.near_duplicates import NearTexts
from finetrail.splits.overlap.row_text import row_text
from finetrail.splits.shuffles import shuffle_groups, shuffle_rows
from finetrail.splits.split_table import WITHHELD, Assigned, place_of, prove_disjoint
from finetrail.step.step import RowWriter, Step, add_input, add_output, run_step, step_parser

SETTINGS = ("splits", "folds.names", "limit")
ENVIRONMENT = "data"

LOGGER = logging.getLogger("finetrail.make_splits")


def stratum(row: Row, name: str) -> str:
    """Return the stratum of a record: a field, a group key, or what else the reader knows of it, under a name.

    Raises:
        FinetrailError: the record has nothing of that name.
    """
    for fields in (row, row.get("group_keys", {}), row.get("extra", {})):
        if name in fields:
            return str(fields[name])
    raise FinetrailError(f"the record has no {name}", where=f"splits.stratify_by ({row['id']})")


def in_order(path: Path, previous: Mapping[str, Row]) -> Iterator[Row]:
    """Read the records, those of the earlier assignment first: what they hold together is known before others come."""
    if previous:
        yield from (row for row in read_rows(path) if row["id"] in previous)
    yield from (row for row in read_rows(path) if row["id"] not in previous)


def ids_of(path: Path) -> Iterator[str]:
    """Yield the ids of the records, in the order of the file."""
    return (row["id"] for row in read_rows(path))


def form_groups(
    rows: Callable[[], Iterable[Row]], settings: Mapping[str, Any], previous: Mapping[str, Row]
) -> Grouping:
    """Join the records by their keys and, where it is asked for, by their texts.

    Args:
        rows: gives the records, each time that it is called.
        settings: of the section `splits`.
        previous: record id → its row of an earlier assignment.
    """
    alike = settings["near_duplicates"]
    near = NearTexts.of(map(row_text, rows()), alike) if alike else None
    grouping = Grouping(near, {name: place_of(row) for name, row in previous.items()})
    for place, row in enumerate(rows()):
        close = near.earlier(place) if near else ()
        grouping.add(row["id"], chosen_keys(row, settings["group_by"]), close)
    grouping.forget_texts()
    return grouping


def draw_of(settings: Mapping[str, Any], rows: Iterable[Row]) -> Draw:
    """Return the draw that the recipe chooses."""
    if settings["method"] == "hash":
        return assign
    if settings["method"] == "values":
        held = settings["values"]
        values = {row["id"]: stratum(row, held["field"]) for row in rows}
        return hold_out(values, {"test": held["test"], "dev": held["dev"]}, held["field"])
    name = settings["stratify_by"]
    strata = {row["id"]: stratum(row, name) for row in rows} if name else None
    return shuffle_groups(strata) if settings["method"] == "shuffle_groups" else shuffle_rows(strata)


def draw(
    groups: Mapping[str, str],
    settings: Mapping[str, Any],
    folds: Sequence[str],
    chosen: Draw,
    previous: Mapping[str, Row],
) -> list[Row]:
    """Assign the records.

    Args:
        groups: record id → group id.
        settings: of the section `splits`.
        folds: names of the folds.
        chosen: the draw.
        previous: record id → its row of an earlier assignment.
    """
    shares = {split: settings[split] for split in ("train", "dev", "test") if settings[split]}
    if len(folds) == 1:
        return chosen(groups, shares, settings["seed"], {name: row["split"] for name, row in previous.items()})
    sizes = settings["fold_shares"] or [1 / len(folds)] * len(folds)
    return assign_folds(groups, dict(zip(folds, sizes, strict=True)), shares, settings["seed"], chosen, previous)


def held_out_rows(rows: Iterable[Row], groups: Mapping[str, str]) -> dict[str, Row]:
    """Return the split rows of held-out records, which are tests, and of those that share a group with one.

    A record that shares a group with a held-out one, and is none, is withheld: training on it would be training on the
    test, and it was not meant to be one.
    """
    named = [(row["id"], "held_out" in row) for row in rows]
    tests = {groups[name]: name for name, is_test in reversed(named) if is_test}
    placed: dict[str, Row] = {}
    for name, is_test in named:
        group = groups[name]
        if is_test:
            placed[name] = {"split": "test", "reason": "its file is held out (source.held_out)"}
        elif group in tests:
            placed[name] = {"split": WITHHELD, "reason": f"shares a group with the held-out record {tests[group]}"}
        else:
            continue
        placed[name] = {"id": name, "group": group, **placed[name]}
    return placed


def read_previous(path: Path | None, folds: Sequence[str]) -> dict[str, Row]:
    """Read an earlier assignment; what it withheld is asked about again.

    Raises:
        FinetrailError: it was made with one fold and there are several now, or the other way round.
    """
    rows = read_table(path) if path else {}
    kept = {name: row for name, row in rows.items() if row["split"] != WITHHELD}
    for name, row in kept.items():
        if ("fold" in row) != (len(folds) > 1):
            raise FinetrailError(
                f"the previous assignment has {'several folds' if 'fold' in row else 'one fold'}, folds.names has "
                f"{len(folds)}",
                where=f"{path} ({name})",
                hint="Assign anew without splits.previous",
            )
    return kept


def report_counts(assigned: Assigned, settings: Mapping[str, Any], folds: Sequence[str]) -> None:
    """Print what each place got beside its share, in rows."""
    counts = assigned.counts()
    total = counts.total() - counts[WITHHELD]
    sizes = settings["fold_shares"] or [1 / len(folds)] * len(folds)
    for fold, part in zip(folds, sizes, strict=True):
        for split in ("train", "dev", "test"):
            name = f"{fold}/{split}" if len(folds) > 1 else split
            got, wanted = counts[name], round(total * part * settings[split])
            if got or wanted:
                LOGGER.info("%s: %d rows, %+d to its share of %d", name, got, got - wanted, wanted)


def in_file_order(
    path: Path,
    groups: Mapping[str, str],
    drawn: dict[str, Row],
    left: Mapping[str, str],
    near: Mapping[str, tuple[str, float]],
) -> Iterator[Row]:
    """Yield the rows of splits.jsonl in the order of the records, withheld ones too; `drawn` is used up."""
    for row_id in ids_of(path):
        kept_out = {"group": groups[row_id], "split": WITHHELD, "reason": left.get(row_id)}
        row = drawn.pop(row_id, None) or {"id": row_id, **kept_out}
        if row_id in near:
            row["near"] = dict(zip(("id", "jaccard"), near[row_id], strict=True))
        yield row


def written(rows: Iterable[Row], out: RowWriter) -> Iterator[Row]:
    """Write rows, and pass them on."""
    for row in rows:
        out.write(row)
        yield row


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a record: its group, its split, its fold where there are several, and the reason."""
    settings, folds = step.settings["splits"], step.settings["folds"]["names"]
    previous = read_previous(args.previous[0] if args.previous else None, folds)
    if previous:
        previous = {row_id: previous[row_id] for row_id in ids_of(args.rows) if row_id in previous}
    grouping = form_groups(lambda: step.progress("records").over(in_order(args.rows, previous)), settings, previous)
    if step.settings["limit"] is None:  # a pilot of a few sessions has large groups
        grouping.check_sizes(settings["largest_group"])
    groups = grouping.groups()
    held_out = held_out_rows(read_rows(args.rows), groups)
    left = grouping.withheld | {name: row["reason"] for name, row in held_out.items() if row["split"] == WITHHELD}
    settled = {*left, *held_out}
    free = {row_id: groups[row_id] for row_id in ids_of(args.rows) if row_id not in settled}
    chosen = draw_of(settings, read_rows(args.rows))
    drawn = held_out | {row["id"]: row for row in draw(free, settings, folds, chosen, previous)}
    rows = in_file_order(args.rows, groups, drawn, left, grouping.near)
    assigned = Assigned(written(rows, step.writer(args.out)))
    report_counts(assigned, settings, folds)
    for name, reason in left.items():
        LOGGER.warning("%s is withheld: %s", name, reason)
    rows = keyed(read_rows(args.rows), settings["group_by"])
    step.facts["proof"] = prove_disjoint(rows, assigned, allowed=settings["method"] == "shuffle")
    step.facts["withheld"] = left
    step.count(rows_in=len(assigned), kept=len(assigned) - len(left), dropped={WITHHELD: len(left)})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "records.jsonl")
    add_input(
        parser, "--previous", "splits.jsonl of an earlier run, kept elsewhere", nargs="*", default=[], required=False
    )
    add_output(parser, "--out", "splits.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
