"""Give every group of records to train, dev or test, before anything is synthesized."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from finetrail.errors import FinetrailError
from finetrail.records import Row, read_rows
from finetrail.splits import assign, group_rows, prove_disjoint
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


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a record: its group, its split and the reason."""
    settings = step.settings["splits"]
    shares = {split: settings[split] for split in ("train", "dev", "test")}

    def keyed(rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            yield {"id": row["id"], "group_keys": chosen_keys(row, settings["group_by"])}

    splits = assign(group_rows(keyed(step.rows(args.rows))), shares, settings["seed"])
    out = step.writer(args.out)
    for row in splits:
        out.write(row)
    step.facts["proof"] = prove_disjoint(keyed(read_rows(args.rows)), splits)
    step.count(rows_in=len(splits), kept=len(splits))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--rows", "records.jsonl")
    add_output(parser, "--out", "splits.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
