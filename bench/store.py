"""How fast a large call store opens, what it holds in memory, and what a lookup costs.

The store is written by the store's own code, many small calls a segment. Each figure is taken in a process of its own:

- ``open_s``: from the folder's name to a store that answers; ``first_open_s`` is the first opening after the writing,
  ``open_s`` the median of those that follow. numpy's import is not counted, see ``import_s``.
- ``grown_mb``: what resident memory grows by with the opening, and ``grown_mb_after_lookups`` with the lookups too;
  ``store_mb`` is the size of the segments, which must not be held.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "store.json"
CALLS = 1_000_000
BATCH = 5_000
LOOKUPS = 10_000
OPENINGS = 5
MEGABYTE = 1 << 20


def key_of(number: int) -> str:
    """Return the key of one of the bench's calls."""
    from finetrail.rows.records import canonical_json, sha256_text

    return sha256_text(canonical_json(request_of(number)))


def request_of(number: int) -> dict[str, Any]:
    """Return one small request."""
    return {"model": "m", "messages": [{"role": "user", "content": f"Question {number}"}]}


def write_calls(folder: Path, calls: int) -> None:
    """Fill a store."""
    from finetrail.calls.segment import StoredCall
    from finetrail.calls.store import CallStore

    rest = {"fingerprint": None, "usage": {"prompt_tokens": 5, "completion_tokens": 3, "cached_tokens": 0}}

    def make(number: int) -> StoredCall:
        answer = {"text": f"Answer {number}", "finish_reason": "stop", "model": "m"}
        paid = {"phase": "bench", "row": str(number), "at": "2026-01-01T00:00:00.000+00:00", "usd": None}
        return StoredCall.make(key_of(number), answer | rest, request_of(number), paid)

    with CallStore(folder) as store:
        for first in range(0, calls, BATCH):
            store.put_many([make(number) for number in range(first, min(first + BATCH, calls))])


def resident_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def open_and_look_up(folder: Path, calls: int) -> dict[str, float]:
    """Open a store and find some of its calls; return the figures of this process."""
    begin = time.perf_counter()
    from finetrail.calls.store import CallStore

    with CallStore(folder / "none"):  # numpy is imported with the first one
        pass
    imported, before = time.perf_counter(), resident_mb()
    with CallStore(folder) as store:
        opened, after = time.perf_counter(), resident_mb()
        keys = [key_of(number) for number in random.Random(1).sample(range(calls), min(LOOKUPS, calls))]
        start = time.perf_counter()
        found = [store.get(key) is not None for key in keys]
        end = time.perf_counter()
        assert all(found)
        return {
            "import_s": imported - begin,
            "open_s": opened - imported,
            "grown_mb": after - before,
            "lookup_us": 1e6 * (end - start) / len(keys),
            "grown_mb_after_lookups": resident_mb() - before,
        }


def measure(folder: Path, calls: int) -> Iterator[dict[str, float]]:
    """Yield the figures of a few processes, one after another."""
    for _ in range(OPENINGS):
        command = [sys.executable, __file__, "--calls", str(calls), "--open", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield json.loads(done.stdout)


def run(calls: int) -> dict[str, Any]:
    """Write a store, measure it, and return the results as they are written."""
    with tempfile.TemporaryDirectory(prefix="finetrail-bench-") as name:
        folder = Path(name) / "calls"
        begin = time.perf_counter()
        write_calls(folder, calls)
        written = time.perf_counter() - begin
        sizes = [path.stat().st_size for path in folder.glob("*.jsonl")]
        first, *others = measure(folder, calls)
    median = {name: round(statistics.median(figures[name] for figures in others), 3) for name in first}
    return {
        "calls": calls,
        "segments": len(sizes),
        "store_mb": round(sum(sizes) / MEGABYTE, 1),
        "write_us_per_call": round(1e6 * written / calls, 1),
        "first_open_s": round(first["open_s"], 3),
        **median,
        "machine": {"cpus": os.cpu_count(), "load": [round(load, 2) for load in os.getloadavg()]},
    }


def main() -> None:
    """Run the bench and write its results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls in the store ({CALLS:,})")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(open_and_look_up(options.open, options.calls)))
        return
    results = run(options.calls)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results), f"written to {RESULTS}")


if __name__ == "__main__":
    main()
