"""The option of a container: which image a rule's command is given to, and what reaches it there.

The engine is a stand-in that runs the command outside of any image; the image itself was not built here.
"""

import json
import sys
from pathlib import Path

import pytest

from tests.workspace import RESULTS, ROOT, Workspace, copy_project

ENGINE = """#!{python}
import json, os, subprocess, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("apptainer version 1.3.4")
elif arguments[0] == "exec":
    image = next(number for number, word in enumerate(arguments) if word.endswith(".sif"))
    with open("{notes}", "a") as notes:
        notes.write(json.dumps(arguments) + "\\n")
    sys.exit(subprocess.run(arguments[image + 1:]).returncode)
else:
    sys.exit(f"the stand-in knows no apptainer {{arguments}}")
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = copy_project(tmp_path / "project")
    engine = tmp_path / "bin/apptainer"
    engine.parent.mkdir()
    engine.write_text(ENGINE.format(python=sys.executable, notes=tmp_path / "notes.jsonl"))
    engine.chmod(0o755)
    (tmp_path / "finetrail.sif").touch()
    (workspace.root / "config/site.yaml").write_text(f"site: {{container: {tmp_path}/finetrail.sif}}\n")
    workspace.variables["PATH"] = f"{engine.parent}:{workspace.environment()['PATH']}"
    return workspace


def test_a_rule_runs_in_the_sites_image_and_finds_the_library_there(workspace: Workspace, tmp_path: Path) -> None:
    target, options = f"{RESULTS}/records.jsonl", ("--sdm", "apptainer")
    assert workspace.executed(target, options=options) == {"ingest_records": 1}
    (given,) = map(json.loads, (tmp_path / "notes.jsonl").read_text().splitlines())
    assert f"{tmp_path}/finetrail.sif" in given
    assert f"PYTHONPATH='{workspace.root}/scripts'" in given[-1] or f"PYTHONPATH={workspace.root}/scripts" in given[-1]
    assert "python scripts/ingest/ingest_records.py" in given[-1]
    assert workspace.planned(target) == {}, "the image is left away: nothing to be made anew"


def test_the_image_copies_files_that_exist() -> None:
    text = (ROOT / "containers/Containerfile").read_text()
    (copied,) = (line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY"))
    assert copied and all((ROOT / name).is_file() for name in copied)
    assert "python:3.11-" in text
