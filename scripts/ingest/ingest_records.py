"""Read the original files of a recipe into one validated row a record.

All bad rows are named at once, with file and line; then nothing is written. Records of files that are held out say so:
they are the test split, whole, also in a pilot.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.records import Row, sha256_text
from finetrail.step import Step, add_input, add_output, run_step, step_parser
from ingest.readers.registry import READERS


def pilot(rows: Iterator[Row], limit: int) -> list[Row]:
    """Keep the first whole sessions in the order of their hashes until `limit` records are reached.

    A pilot's records are the same whatever comes before them in the file, and a session stays whole, because a model
    answers its turns one after the other.
    """
    sessions: dict[str, list[Row]] = {}
    order: dict[str, int] = {}
    for position, row in enumerate(rows):
        sessions.setdefault(row["session_id"], []).append(row)
        order[row["id"]] = position
    kept: list[Row] = []
    for name in sorted(sessions, key=sha256_text):
        if len(kept) >= limit:
            break
        kept += sessions[name]
    return sorted(kept, key=lambda row: order[row["id"]])


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the validated records."""
    source = step.settings["source"]
    limit = step.settings["limit"]
    images = Path(source["images"]) if source["images"] else None
    read = READERS[source["format"]]
    total = 0

    def counted(files: Sequence[Path]) -> Iterator[Row]:
        nonlocal total
        before = total
        for row in step.progress("records").over(read(files, images_root=images)):
            total += 1
            yield row
        if total == before:
            names = ", ".join(str(path) for path in files)
            raise FinetrailError("there is no record", where=names, hint="Is this the right file?")

    out = step.writer(args.out)
    for row in counted(args.files) if limit is None else pilot(counted(args.files), limit):
        out.write(row)
    for row in counted(args.held_out) if args.held_out else ():
        out.write(row | {"held_out": True})
    step.count(rows_in=total, kept=out.count, dropped={"beyond the limit of the pilot": total - out.count})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--files", "the original files", nargs="+")
    add_input(parser, "--held-out", "files of the test records", nargs="*", default=[], required=False)
    add_output(parser, "--out", "records.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
