"""Look into a call store: ``python -m finetrail.calls.inspect_store {verify,stats} FOLDER``.

`verify` reads every record, recomputes its hashes and names what is torn or damaged, by file and byte; it ends with 1
if anything is damaged. A torn last record is no damage: a writer was killed while it wrote, which stays visible for
ever, and the answer did not count yet. `stats` counts calls and tokens by model and phase.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetrail.calls.segment import SUFFIX, StoredCall, decode, scan
from finetrail.calls.store import CallStore
from finetrail.errors import FinetrailError

COUNTED = ("calls", "prompt_tokens", "completion_tokens")


def read_calls(folder: Path) -> Iterator[StoredCall]:
    """Yield every whole record of a store, segment after segment."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with path.open("rb") as stream:
            for item in scan(path):
                if item.key is not None:
                    stream.seek(item.offset)
                    yield decode(stream.read(item.length))


def verify(folder: Path) -> int:
    """Print what is torn or damaged; return the exit code."""
    report = CallStore(folder).verify()
    for where in report.torn:
        print(f"torn: {folder}/{where}: the last record is incomplete; its writer was killed, or writes still")
    for what in report.damaged:
        print(f"damaged: {folder}/{what}")
    print(
        f"{report.calls} calls in {report.segments} segments are whole, {len(report.torn)} torn, "
        f"{len(report.damaged)} damaged"
    )
    if report.damaged:
        print("Restore the damaged files (dvc checkout), or remove them: their answers are then asked for again")
    return 1 if report.damaged else 0


def stats(folder: Path) -> int:
    """Print calls and tokens by model and phase; return the exit code."""
    table: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    keys = set()
    for call in read_calls(folder):
        usage = call.answer.get("usage") or {}
        counts = {"calls": 1} | {name: usage.get(name, 0) for name in COUNTED[1:]}
        for phase in (str(call.paid.get("phase")), "(all phases)"):
            table[_asked(call), phase].update(counts)
        table["(all models)", "(all phases)"].update(counts)
        keys.add(call.key[:16])
    model_width, phase_width = (max(map(len, column)) for column in zip(*table, ("model", "phase"), strict=True))
    print(f"{'model':{model_width}}  {'phase':{phase_width}}", *(f"{name:>18}" for name in COUNTED))
    for (model, phase), counts in sorted(table.items()):
        print(f"{model:{model_width}}  {phase:{phase_width}}", *(f"{counts[name]:>18,}" for name in COUNTED))
    print(f"{len(keys)} different requests")
    return 0


def _asked(call: StoredCall) -> str:
    """Name what was asked: a model, a search service, or the web's pages."""
    kind = call.request.get("kind")
    if kind is None:
        return str(call.request.get("model"))
    return f"({kind} {call.request['service']})" if kind == "search" else f"({kind})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["verify", "stats"])
    parser.add_argument("folder", type=Path, help="the store, such as results/calls")
    args = parser.parse_args(argv)
    if not args.folder.is_dir():
        print(FinetrailError("there is no such folder", where=str(args.folder)), file=sys.stderr)
        return 2
    return verify(args.folder) if args.command == "verify" else stats(args.folder)


if __name__ == "__main__":
    sys.exit(main())
