"""Read the original files of a recipe into one validated row a record.

All bad rows are named at once, with file and line; then nothing is written. Control characters are taken out of texts.
Records of files that are held out say so: they are the test split, whole, also in a pilot.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.rows.records import Row, read_rows, sha256_text
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.text.control import without_control
from ingest.readers.images import unfetched_name
from ingest.readers.registry import READERS

SETTINGS = (
    "limit",
    "source.format",
    "source.files",
    "source.images",
    "source.fetch",
    "source.questions",
    "source.held_out",
)
ENVIRONMENT = "data"

BEYOND = "beyond the limit of the pilot"
NO_IMAGE = "its image could not be had"
CLEANED = ("question", "answer", "history", "pair", "choice", "case", "extra")


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


class Fetched:
    """Puts fetched images into records; without fetching, records pass as they are.

    Args:
        fetched: images.jsonl, where images were fetched.
        failed: images.failed.jsonl.
        settings: the section ``source.fetch``.

    Attributes:
        dropped: records whose image could not be had, and that are left out for it.
        without: such records that are kept with their text alone.
    """

    def __init__(self, fetched: Sequence[Path], failed: Sequence[Path], settings: Row | None) -> None:
        self._found = {row["name"]: row for path in fetched for row in read_rows(path)}
        self._failed = {row["name"] for path in failed for row in read_rows(path)}
        self._keeps_text = settings is not None and settings["on_failure"] == "text"
        self.dropped = self.without = 0

    def over(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the records with their images."""
        for row in rows:
            image = row.get("image")
            name = None if image is None else _name_of(image)
            if name in self._found:
                found = self._found[name]
                shown = {"path": found["path"], "sha256": found["sha256"], "fetched": True}
                keys = {**row["group_keys"], "image": f"sha256:{found['sha256']}"}
                yield row | {"image": shown, "group_keys": keys}
            elif name not in self._failed:
                yield row
            elif self._keeps_text:
                self.without += 1
                yield row | {"image": None}
            else:
                self.dropped += 1


def _name_of(image: Row) -> str:
    return f"path:{image['path']}" if "path" in image else unfetched_name(image)


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

    shown = Fetched(args.fetched, args.failed, source["fetch"])
    out = step.writer(args.out)
    cleaned = 0

    def clean(row: Row) -> Row:
        nonlocal cleaned
        texts, count = without_control({name: row[name] for name in CLEANED if name in row})
        cleaned += count
        return row | texts if count else row

    for row in shown.over(counted(args.files) if limit is None else pilot(counted(args.files), limit)):
        out.write(clean(row))
    for row in counted(args.held_out) if args.held_out else ():
        out.write(clean(row) | {"held_out": True})
    if cleaned:
        step.facts["control_characters"] = cleaned
    step.facts["images"] = {"records_dropped": shown.dropped, "records_without": shown.without}
    beyond = total - out.count - shown.dropped
    step.count(rows_in=total, kept=out.count, dropped={BEYOND: beyond, NO_IMAGE: shown.dropped})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--files", "the original files", nargs="+")
    add_input(parser, "--held-out", "files of the test records", nargs="*", default=[], required=False)
    add_input(parser, "--fetched", "images.jsonl, where images are fetched", required=False, nargs="*", default=[])
    add_input(parser, "--failed", "images.failed.jsonl", required=False, nargs="*", default=[])
    add_output(parser, "--out", "records.jsonl")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
