"""How fast a million rows go through deduplication, contamination and splits, and in how much memory.

The steps `make_splits` and `make_folds` run as the workflow runs them, one after another, each in a process of its own.
Beside them stands the straightforward way (`folds_peer.py`): pandas, and datasketch's MinHash LSH at the same
threshold, on fewer rows. Every row has 60 words; of a hundred, three are near copies of earlier rows and one is equal.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results" / "folds.json"
PEER = HERE / "peers" / ".venv" / "datasketch" / "bin" / "python"
WORDS = 60
NEAR, EQUAL = 0.03, 0.01
ALIKE = {"threshold": 0.8, "shingle_words": 5, "least_words": 0}
CORES = 2


def records(count: int) -> Iterator[dict[str, Any]]:
    """Make records of about four turns a session, with planted copies; the same for every run."""
    rng = random.Random(11)
    vocabulary = [f"{rng.choice('bdfgklmnprst')}{rng.choice('aeiou')}{number:x}" for number in range(50_000)]
    earlier: list[list[str]] = []
    for number in range(count):
        drawn = rng.random()
        words = list(rng.choice(earlier)) if earlier and drawn < NEAR + EQUAL else rng.choices(vocabulary, k=WORDS)
        if earlier and drawn < NEAR:
            words[rng.randrange(WORDS)] = rng.choice(vocabulary)
        if len(earlier) < 10_000:
            earlier.append(words)
        session = str(number // 4)
        yield {
            "id": f"rec-{number:08}",
            "group_keys": {"session": session, "image": None},
            "session_id": session,
            "turn": number % 4,
            "question": " ".join(words[:20]),
            "answer": " ".join(words[20:]),
            "image": None,
            "history": [],
            "origin": {"file": "bench.jsonl", "line": number + 1},
        }


def measured(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Run a command and return its wall time and its greatest resident memory."""
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "OMP_NUM_THREADS": str(CORES)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES]),
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:2])} failed: {said.strip().splitlines()[-1]}")
    wall = time.perf_counter() - start
    return {
        "wall_s": round(wall, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss / 1e6, 3),
    }


def ours(folder: Path, count: int) -> dict[str, Any]:
    """Run both steps over the records and return their figures."""
    folds = {"names": ["fold0"], "train_on": "own", "layout": "evidence", "system_prompt": "", "evidence": 0}
    screened = {"duplicates": ALIKE, "benchmarks": [], "contamination": "drop"}
    splits = {"train": 0.8, "dev": 0.1, "test": 0.1, "seed": 42, "method": "hash", "previous": None, "fold_shares": []}
    grouped = {"group_by": ["session", "image"], "near_duplicates": ALIKE, "stratify_by": None, "largest_group": 0.2}
    settings = {"splits": splits | grouped, "folds": folds | screened, "limit": None}
    common = ["--settings", json.dumps(settings)]
    first = [sys.executable, str(ROOT / "scripts/ingest/make_splits.py"), "--rows", "records.jsonl"]
    first += ["--out", "splits.jsonl", "--meta", "splits.meta.json"]
    second = [sys.executable, str(ROOT / "scripts/folds/make_folds.py"), "--rows", "records.jsonl"]
    second += ["--records", "records.jsonl", "--splits", "splits.jsonl", "--meta", "fold.meta.json"]
    second += ["--train", "train.jsonl", "--eval", "eval.jsonl", "--test", "test.jsonl"]
    second += ["--dropped", "train.dropped.jsonl", "--report", "report.json"]
    figures: dict[str, Any] = {"make_splits": measured(first + common, folder)}
    print(f"make_splits: {figures['make_splits']}", flush=True)
    figures["make_folds"] = measured(second + common, folder)
    print(f"make_folds: {figures['make_folds']}", flush=True)
    report = json.loads((folder / "report.json").read_text())
    wall = sum(step["wall_s"] for step in figures.values())
    found = {"near_pairs": report["proof"]["near_duplicates"], "dropped": report["duplicates"]}
    found |= {"contaminated": report["contamination"]["train_rows_sharing_a_run"]}
    cpu = sum(step["cpu_s"] for step in figures.values())
    speed = {"rows_per_s": round(count / wall), "rows_per_cpu_s": round(count / cpu)}
    peak = max(step["peak_gb"] for step in figures.values())
    return {"rows": count, **speed, "peak_gb": peak, **found, **figures}


def peer(folder: Path, count: int) -> dict[str, Any]:
    """Run the straightforward way over the first records."""
    if not PEER.exists():
        return {"not_run": "its environment is not installed (make bench-peers)"}
    command = [str(PEER), str(HERE / "folds_peer.py"), str(folder / "records.jsonl"), str(count)]
    figures = measured(command, folder)
    speed = {"rows_per_s": round(count / figures["wall_s"]), "rows_per_cpu_s": round(count / figures["cpu_s"])}
    return {"rows": count, **speed, **figures}


def main() -> None:
    """Run the bench and write its results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows (1,000,000)")
    parser.add_argument("--peer-rows", type=int, default=20_000, help="rows for the straightforward way (20,000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "records.jsonl").open("w") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in records(options.rows))
        theirs = peer(folder, min(options.peer_rows, options.rows))
        print(f"pandas and datasketch: {theirs}", flush=True)
        mine = ours(folder, options.rows)
    load = [round(value, 2) for value in os.getloadavg()]
    results = {"machine": {"cores_used": CORES, "load": load}, "finetrail": mine, "pandas_datasketch": theirs}
    if "rows_per_s" in theirs:
        results["times_faster_by_cpu"] = round(mine["rows_per_cpu_s"] / theirs["rows_per_cpu_s"], 1)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"{mine['rows_per_s']} rows/s, {mine['peak_gb']} GB; written to {RESULTS}")


if __name__ == "__main__":
    main()
