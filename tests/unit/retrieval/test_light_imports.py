import subprocess
import sys
from pathlib import Path

MODULES = (
    "finetrail.splits.assign",
    "finetrail.metrics.bootstrap",
    "finetrail.metrics.compare",
    "finetrail.metrics.turn_score",
    "finetrail.retrieval.bm25",
    "finetrail.text.chunks",
    "finetrail.retrieval.passages",
    "finetrail.retrieval.rerank",
    "finetrail.examples.select",
    "ingest.readers.registry",
)
HEAVY = {"numpy", "scipy", "sklearn", "bm25s", "numba", "torch", "transformers"}


def test_importing_the_modules_loads_nothing_heavy() -> None:
    code = f"import sys, {', '.join(MODULES)}; print(*sys.modules)"
    scripts = Path(__file__).parents[3] / "scripts"
    done = subprocess.run([sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(done.stdout.split())
    assert set(MODULES) <= set(done.stdout.split())
