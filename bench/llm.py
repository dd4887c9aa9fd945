"""How well the engine uses a server with a limit, and what a call costs the processor, beside other clients.

Every client runs in a process of its own against one loopback server (`llm_server.py`), one after another. What is
measured, is measured at the server, in the same way for all:

- ``efficiency``: ideal time ÷ time, from the end of the slow start (the first refusal; for clients without one, the
  first call) until the queue is empty (the last row comes for the first time). Ideal: the seconds that all attempts
  in that time occupy a place, failures and hangs included, each at its nominal length, ÷ the places.
- ``cpu_ms_per_call``: processor time of the client's process ÷ rows, imports excluded; the engine's includes its
  retries, the bare clients ask each row once. ``bare_cpu_ms_per_call`` is the cheaper of the two.

An attempt may take `TIMEOUT_S`. A client whose process stands still for so long lets all calls time out, answered or
not, and gives up rows after six times. That speaks of the machine alone, so that nothing is written then.
"""

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_clients import AT_ONCE as CLIENTS_AT_ONCE
from llm_clients import BOUND, TIMEOUT_S
from llm_server import AT_ONCE, FAILING, HANGING, LATENCY_S, RETRY_AFTER_S

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "llm.json"
NOMINAL_S = {"answered": LATENCY_S, "failed": LATENCY_S, "hung": TIMEOUT_S}
ENGINE = "engine"
BARE = ("bare", "bare_aiohttp")
PEERS = HERE / "peers" / ".venv"
PEER_NAMES = ("curator", "data_designer")

Attempt = tuple[str, int, float, float]


def efficiency(attempts: list[Attempt], *, slow_start: bool) -> float:
    """Return the share of the ideal that a client reached; see the module's description."""
    refusals = [came for kind, _, came, _ in attempts if kind == "refused"]
    taken = [attempt for attempt in attempts if attempt[0] != "refused"]
    first_came: dict[int, float] = {}
    for _, row, came, _ in attempts:
        first_came.setdefault(row, came)
    start = refusals[0] if slow_start and refusals else attempts[0][2]
    end = max(first_came.values())
    occupied = 0.0
    for kind, _, came, went in taken:
        left = min(went, came + NOMINAL_S[kind])
        occupied += max(0.0, min(left, end) - max(came, start))
    return occupied / AT_ONCE / (end - start)


def measure(name: str, url: str, calls: int) -> dict[str, Any]:
    """Run one client and return its figures, or why it was not run."""
    python = PEERS / name / "bin" / "python" if name in PEER_NAMES else Path(sys.executable)
    if not python.exists():
        return {"not_run": "its environment is not installed (make bench-peers)"}
    command = [str(python), str(HERE / "llm_clients.py"), name, url, str(calls)]
    done = subprocess.run(command, capture_output=True, text=True)
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/report") as reply:
        attempts: list[Attempt] = [tuple(attempt) for attempt in json.load(reply)]
    if done.returncode:
        return {"not_run": f"it failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}"}
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {
        "answers": said.pop("answers"),
        "efficiency": round(efficiency(attempts, slow_start=name == ENGINE), 4),
        "cpu_ms_per_call": round(1000 * said.pop("cpu_s") / calls, 4),
        "wall_s": round(said.pop("wall_s"), 2),
        "at_server": dict(sorted(Counter(attempt[0] for attempt in attempts).items())),
    } | said


def run(calls: int, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Measure the clients, one after another, against one server."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "llm_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        figures = {}
        for name in names:
            figures[name] = measure(name, url, calls)
            print(f"{name}: {json.dumps(figures[name])}", flush=True)
        server.communicate("")
    return figures


def stood_still(figures: dict[str, dict[str, Any]]) -> list[str]:
    """Return the clients whose process stood still for as long as an attempt may take."""
    return [name for name, found in figures.items() if found.get("stood_still_s", 0.0) >= TIMEOUT_S]


def report(calls: int, figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the results as they are written."""
    engine = figures[ENGINE]
    bare = {name: figures[name]["cpu_ms_per_call"] for name in BARE}
    return {
        "scenario": {
            "calls": calls,
            "at_once": AT_ONCE,
            "latency_s": LATENCY_S,
            "failing": FAILING,
            "hanging": HANGING,
            "timeout_s": TIMEOUT_S,
            "retry_after_s": RETRY_AFTER_S,
            "engine_bound": BOUND,
            "peers_at_once": CLIENTS_AT_ONCE,
        },
        "machine": {"cpus": os.cpu_count(), "load": [round(load, 2) for load in os.getloadavg()]},
        "efficiency": engine["efficiency"],
        "lost": calls - engine["stored"],
        "cpu_ms_per_call": engine["cpu_ms_per_call"],
        "bare_cpu_ms_per_call": min(bare.values()),
        "cpu_ratio": round(engine["cpu_ms_per_call"] / min(bare.values()), 3),
        "engine": engine,
        "bare": {name: figures[name] for name in BARE},
        "peers": {name: figures[name] for name in ("plain_loop", *PEER_NAMES)},
    }


def main() -> None:
    """Run the bench and write its results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000, help="rows that each client asks about (20,000)")
    parser.add_argument("--only", nargs="+", help="these clients only; nothing is written")
    options = parser.parse_args()
    figures = run(options.calls, options.only or [ENGINE, *BARE, "plain_loop", *PEER_NAMES])
    if names := stood_still(figures):
        raise SystemExit(
            f"{', '.join(names)}: the process stood still for {TIMEOUT_S} s or more, so that calls timed out that were "
            "answered. Measure again while less else runs on this machine."
        )
    if options.only:
        return
    results = report(options.calls, figures)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    shown = ("efficiency", "lost", "cpu_ms_per_call", "bare_cpu_ms_per_call", "cpu_ratio")
    print(json.dumps({name: results[name] for name in shown}), f"written to {RESULTS}")


if __name__ == "__main__":
    main()
