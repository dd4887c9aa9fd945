"""Data steps start at once: they import nothing heavy before they need it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
DATA_PHASES = ("ingest", "recall", "label", "synthesize", "folds", "audit")
DATA_STEPS = sorted(
    [
        *(path for phase in DATA_PHASES for path in (SCRIPTS / phase).glob("*.py")),
        SCRIPTS / "evaluate" / "score_answers.py",
        SCRIPTS / "evaluate" / "judge_predictions.py",
    ]
)
ALONE = {SCRIPTS / "folds" / "split_dataset.py", SCRIPTS / "ingest" / "import_env.py"}  # no steps of the workflow
HEAVY = {"torch", "transformers", "trl", "peft", "openai", "aiohttp", "numpy", "scipy", "sklearn", "bm25s", "datasets"}
HEAVY |= {"accelerate", "gguf", "xllamacpp", "jinja2", "jsonschema", "pydantic", "snakemake"}
START = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    print("\\nMODULES", end.code, *sys.modules)
"""


@pytest.mark.parametrize("script", DATA_STEPS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_data_step_starts_without_heavy_modules(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parent), str(SCRIPTS)])},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    code, *modules = done.stdout.rpartition("\nMODULES ")[2].split()
    assert code == "0"
    assert ("finetrail.step.step" in modules) == (script not in ALONE)
    assert HEAVY.isdisjoint(modules)
