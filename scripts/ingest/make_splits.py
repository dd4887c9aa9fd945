"""Give every group of records to train, dev or test, before anything is synthesized."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from finetrail.records import Row, read_rows
from finetrail.splits import assign, group_rows, prove_disjoint
from finetrail.step import Step, add_input, add_output, run_step, step_parser


def work(step: Step, args: argparse.Namespace) -> None:
    """Write one row a record: its group, its split and the reason."""
    settings = step.settings["splits"]
    shares = {split: settings[split] for split in ("train", "dev", "test")}

    def keyed(rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            keys = {name: value for name, value in row["group_keys"].items() if name in settings["group_by"]}
            yield {"id": row["id"], "group_keys": keys}

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
