"""Give every record to train, dev or test, and to one of several folds, before anything is synthesized."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.records import Row, read_rows
from finetrail.splits import assign, assign_folds, assign_shuffled, group_rows, prove_disjoint
from finetrail.step import Step, add_input, add_output, run_step, step_parser


def chosen_keys(row: Row, names: Sequence[str]) -> dict[str, str | None]:
    """Return the group keys that hold records together.

    Raises:
        FinetrailError: the record has no such key; without it, records that belong together would be divided.
    """
    known: dict[str, str | None] = row["group_keys"]
    if unknown := [name for name in names if name not in known]:
        raise FinetrailError(
            f"the records have no group key {', '.join(unknown)}",
            where=f"splits.group_by ({row['id']})",
            hint=f"The reader gives: {', '.join(known)}",
        )
    return {name: known[name] for name in names}


def draw(groups: Mapping[str, str], settings: Mapping[str, Any], folds: Sequence[str]) -> list[Row]:
    """Assign the records by the method that the recipe chooses.

    Args:
        groups: record id → group id.
        settings: of the section `splits`.
        folds: names of the folds.
    """
    chosen = assign_shuffled if settings["method"] == "shuffle" else assign
    shares = {split: settings[split] for split in ("train", "dev", "test") if settings[split]}
    if len(folds) == 1:
        return chosen(groups, shares, settings["seed"])
    sizes = settings["fold_shares"] or [1 / len(folds)] * len(folds)
    return assign_folds(groups, dict(zip(folds, sizes, strict=True)), shares, settings["seed"], chosen)


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a record: its group, its split, its fold where there are several, and the reason."""
    settings = step.settings["splits"]

    def keyed(rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            yield {"id": row["id"], "group_keys": chosen_keys(row, settings["group_by"])}

    splits = draw(group_rows(keyed(step.rows(args.rows))), settings, step.settings["folds"]["names"])
    out = step.writer(args.out)
    for row in splits:
        out.write(row)
    step.facts["proof"] = prove_disjoint(keyed(read_rows(args.rows)), splits, allowed=settings["method"] == "shuffle")
    step.count(rows_in=len(splits), kept=len(splits))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "records.jsonl")
    add_output(parser, "--out", "splits.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
