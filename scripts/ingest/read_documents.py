"""Read every file below the given folders into one normalised document each; the report accounts for every file."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrail.documents.isolate import FileBounds, Opened, Place, digest_of, read_all
from finetrail.errors import FinetrailError
from finetrail.isolated import Failed
from finetrail.rows.artifacts import render_json
from finetrail.rows.records import Row, content_id, sha256_text
from finetrail.step.step import Step, add_output, run_step, step_parser

SETTINGS = ("documents.max_file_mb", "documents.seconds_per_file", "documents.memory_mb_per_file")
ENVIRONMENT = "data"

MEGABYTE = 1_000_000
MOST_REASONS = 5


def all_files(roots: Sequence[Path]) -> Iterator[Place]:
    """Yield every file with its folder and its name below it, in a fixed order; files that are named themselves too.

    Raises:
        FinetrailError: a root does not exist.
    """
    for root in roots:
        if not root.exists():
            raise FinetrailError("does not exist", where=str(root), hint="Look at source.files")
        if not root.is_dir():
            yield Place(str(root.parent), root.name)
            continue
        yield from (Place(str(root), path.relative_to(root).as_posix()) for path in sorted(files_below(root)))


def files_below(root: Path) -> list[Path]:
    """Return all files and links below a folder; in place of a folder that cannot be opened, the folder itself."""
    found: list[Path] = []
    closed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=closed.append):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        found += [Path(folder, name) for name in (*files, *links)]
    return found + [Path(error.filename) for error in closed]


def shown_name(name: str) -> str:
    """Return a name that can be written as UTF-8, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def passed_over(place: Place) -> str | None:
    """Say why a file is not even opened."""
    path = Path(place.root, place.name)
    if path.is_symlink():
        return "a link: what it leads to is read where it stands, or not at all"
    if path.is_dir():
        return "a folder that cannot be opened: none of its files was read"
    if not path.is_file():
        return "no regular file"
    return "hidden" if any(part.startswith(".") for part in Path(place.name).parts) else None


def entry_of(place: Place, opened: Opened) -> Row:
    """Describe a file and what became of it."""
    entry: Row = {"file": shown_name(place.name), "bytes": opened.size, "sha256": opened.sha256}
    outcome = opened.outcome
    if isinstance(outcome, Failed):
        return entry | {"status": "not read", "reason": outcome.reason}
    names = ("kind", "encoding", "found_by", "replaced", "normalised", "notes", "left_out")
    told = {key: outcome[key] for key in names}
    return entry | {"status": "read", **told, "characters": len(outcome["text"]), "pages": len(outcome["pages"])}


def document_of(name: str, entry: Row, read: Row) -> Row:
    """Make a document's row: its id is that of its name, so that an edit elsewhere in it moves no chunk."""
    shown = shown_name(name)
    return {
        "id": content_id("doc", shown),
        "file": shown,
        "sha256": entry["sha256"],
        "text_sha256": sha256_text(read["text"]),
        "title": read["title"] or Path(shown).stem,
        **{key: read[key] for key in ("kind", "markup", "headings", "code", "pages", "text")},
    }


def read_in_order(roots: Sequence[Path], bounds: FileBounds, processes: int) -> Iterator[tuple[Place, Opened]]:
    """Yield every file with its document, or with the reason why there is none."""
    places = list(all_files(roots))
    reasons = [passed_over(place) for place in places]
    opened = read_all((place for place, reason in zip(places, reasons, strict=True) if not reason), bounds, processes)
    for place, reason in zip(places, reasons, strict=True):
        yield place, next(opened) if reason is None else Opened(*digest_of(place), Failed(reason))


def listed(reasons: Counter[str]) -> str:
    """Say why files were not read, the most frequent reasons first."""
    if not reasons:
        return "there are no files"
    shown = [f"{reason} ({count})" for reason, count in reasons.most_common(MOST_REASONS)]
    return "; ".join(shown) + ("; and others" if len(reasons) > MOST_REASONS else "")


def work(step: Step, args: argparse.Namespace) -> None:
    """Write the documents and the report."""
    settings = step.settings["documents"]
    bounds = FileBounds(
        settings["max_file_mb"] * MEGABYTE, settings["seconds_per_file"], settings["memory_mb_per_file"] * MEGABYTE
    )
    out = step.writer(args.out)
    entries: list[Row] = []
    same: dict[str, str] = {}
    found = read_in_order([Path(name) for name in args.files], bounds, args.processes)
    left_out: Counter[str] = Counter()
    for place, opened in step.progress("files").over(found):
        entry = entry_of(place, opened)
        entries.append(entry)
        if isinstance(opened.outcome, Failed):
            continue
        left_out.update(opened.outcome["left_out"])
        row = document_of(place.name, entry, opened.outcome)
        if (first := same.setdefault(row["text_sha256"], row["file"])) != row["file"]:
            entry["notes"] = [*entry["notes"], f"the same text as {first}"]
        out.write(row)
    if len({entry["file"] for entry in entries}) < len(entries):
        raise FinetrailError("two files have one name below their folders", hint="Read them from one folder above")
    reasons = Counter(entry["reason"] for entry in entries if entry["status"] == "not read")
    if not out.count:
        raise FinetrailError(f"no document could be read: {listed(reasons)}", hint="Look at source.files")
    kinds = Counter(entry["kind"] for entry in entries if entry["status"] == "read")
    report = {
        "files": len(entries),
        "read": out.count,
        "not_read": reasons.total(),
        "kinds": dict(sorted(kinds.items())),
        "reasons": dict(sorted(reasons.items())),
        "left_out": dict(sorted(left_out.items())),
        "with_notes": sum(bool(entry.get("notes")) for entry in entries),
        "entries": entries,
    }
    step.file(args.report).write_text(render_json(report), encoding="utf-8")
    step.count(rows_in=len(entries), kept=out.count, dropped=reasons)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--files", nargs="+", required=True, help="documents, and folders of documents")
    parser.add_argument("--processes", type=int, default=1, help="processes that read")
    add_output(parser, "--out", "documents.jsonl")
    add_output(parser, "--report", "ingest_report.json")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
