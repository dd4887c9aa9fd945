"""Look into a call store: ``python -m finetrail.calls.inspect_store {verify,stats,merge} FOLDER [FROM]``.

`verify` reads every record, recomputes its hashes and names what is torn or damaged, by file and byte; it ends with 1
if anything is damaged. A torn last record is no damage: a writer was killed while it wrote, which stays visible for
ever, and the answer did not count yet. Neither is a request with several answers: `verify` says which is used. `stats`
counts calls and tokens by model and phase. `merge` copies the whole segments of another store into this one; where both
have an answer, this store's own stays the one that is used.
"""

import argparse
import contextlib
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrail.calls.cleaning import Cleaner
from finetrail.calls.index import Entry, write_index
from finetrail.calls.money import Usage
from finetrail.calls.ownership import claim
from finetrail.calls.segment import SUFFIX, StoredCall, decode, scan, scan_entries
from finetrail.calls.verify_store import verify_folder
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import atomic_path

COUNTED = ("calls", "prompt_tokens", "completion_tokens")


def read_calls(folder: Path) -> Iterator[StoredCall]:
    """Yield every whole record of a store, segment after segment."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with path.open("rb") as stream:
            for item in scan(path):
                if item.key is not None:
                    stream.seek(item.offset)
                    with contextlib.suppress(ValueError):  # `verify` names it
                        yield decode(stream.read(item.length))


def verify(folder: Path) -> int:
    """Print what is torn or damaged; return the exit code."""
    report = verify_folder(folder)
    for where in report.torn:
        print(f"torn: {folder}/{where}: the last record is incomplete; its writer was killed, or writes still")
    for what in report.damaged:
        print(f"damaged: {folder}/{what}")
    for name in report.foreign:
        print(f"from elsewhere: {folder}/{name}: answers in it are used where this store has none of its own")
    for name in report.strangers:
        print(f"foreign file: {folder}/{name}: it is no part of a store, and nothing reads it")
    for conflict in report.conflicts:
        print(f"several answers: {conflict}")
    several = f", {len(report.conflicts)} keys with several answers" if report.conflicts else ""
    print(
        f"{report.calls} calls in {report.segments} segments are whole, {len(report.torn)} torn, "
        f"{len(report.damaged)} damaged{several}"
    )
    if report.damaged:
        print("Restore the damaged files (dvc checkout), or remove them: their answers are then asked for again")
    return 1 if report.damaged else 0


def merge(folder: Path, other: Path) -> int:
    """Copy the segments of another store that are not here yet, and verify; return the exit code."""
    damaged = verify_folder(other).damaged
    if damaged:
        print(*(f"damaged: {other}/{what}" for what in damaged), "Nothing was copied: restore them first", sep="\n")
        return 1
    claim(folder, sorted(folder.glob(f"*{SUFFIX}")))  # what comes now is from elsewhere
    new = [path for path in sorted(other.glob(f"*{SUFFIX}")) if not (folder / path.name).exists()]
    for path in new:
        with atomic_path(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)
        write_index(folder / path.name, *_whole_entries(folder / path.name))
    print(f"{len(new)} segments copied from {other}")
    return verify(folder)


def _whole_entries(path: Path) -> tuple[list[Entry], int]:
    entries = scan_entries(path)
    return entries, max((entry.offset + entry.length for entry in entries), default=0)


def stats(folder: Path) -> int:
    """Print calls and tokens by model and phase; return the exit code."""
    table: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    keys = set()
    for call in read_calls(folder):
        counts = {"calls": 1} | _tokens_of(call)
        for phase in (Cleaner().message(call.paid.get("phase")), "(all phases)"):
            table[_asked(call), phase].update(counts)
        table["(all models)", "(all phases)"].update(counts)
        keys.add(call.key[:16])
    model_width, phase_width = (max(map(len, column)) for column in zip(*table, ("model", "phase"), strict=True))
    print(f"{'model':{model_width}}  {'phase':{phase_width}}", *(f"{name:>18}" for name in COUNTED))
    for (model, phase), counts in sorted(table.items()):
        print(f"{model:{model_width}}  {phase:{phase_width}}", *(f"{counts[name]:>18,}" for name in COUNTED))
    print(f"{len(keys)} different requests")
    return 0


def _tokens_of(call: StoredCall) -> dict[str, int]:
    """Return the tokens of a record; 0 where it does not say them, or says what it likes (it may be from elsewhere)."""
    try:
        usage = Usage.stored(call.answer.get("usage")) or Usage()
    except TypeError:
        usage = Usage()
    return {name: getattr(usage, name) for name in COUNTED[1:]}


def _asked(call: StoredCall) -> str:
    """Name what was asked: a model, a search service, or the web's pages."""
    kind = call.request.get("kind")
    if kind is None:
        return Cleaner().message(call.request.get("model"))
    return Cleaner().message(f"({kind} {call.request.get('service')})" if kind == "search" else f"({kind})")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["verify", "stats", "merge"])
    parser.add_argument("folder", type=Path, help="the store, such as results/calls")
    parser.add_argument("other", type=Path, nargs="?", help="for merge: the store whose segments are copied into it")
    args = parser.parse_args(argv)
    if (args.other is None) == (args.command == "merge"):
        parser.error("merge takes two stores, the other commands take one")
    for folder in filter(None, (args.folder, args.other)):
        if not folder.is_dir():
            print(FinetrailError("there is no such folder", where=str(folder)), file=sys.stderr)
            return 2
    if args.command == "merge":
        return merge(args.folder, args.other)
    return verify(args.folder) if args.command == "verify" else stats(args.folder)


if __name__ == "__main__":
    sys.exit(main())
