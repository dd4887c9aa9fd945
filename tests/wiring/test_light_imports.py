"""Data steps start at once: they import nothing heavy before they need it."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
# Each script starts in a fork of one process, which has what is light and slow to load; each prints what it loaded.
PROBE = """
import argparse, asyncio, contextlib, importlib.metadata, io, json, os, runpy, sys, yaml
for script in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    sys.argv = [script, "--help"]
    sys.path.insert(0, os.path.dirname(script))
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as said:
        runpy.run_path(script, run_name="__main__")
    print(json.dumps({"script": script, "said": said.getvalue(), "modules": [*sys.modules]}), flush=True)
    os._exit(0)
"""


def test_data_steps_start_without_heavy_modules(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, DATA_STEPS)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    loaded = {Path(line["script"]): line for line in map(json.loads, done.stdout.splitlines())}
    assert [*loaded] == DATA_STEPS, done.stderr
    assert {str(path) for path, line in loaded.items() if not line["said"].startswith("usage: ")} == set()
    heavy = {str(path): HEAVY.intersection(line["modules"]) for path, line in loaded.items()}
    assert {script: names for script, names in heavy.items() if names} == {}
    alone = {path for path, line in loaded.items() if "finetrail.step.step" not in line["modules"]}
    assert alone == ALONE
