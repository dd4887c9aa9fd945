"""Rules in the environments of envs/, made as they stand there by a real solver, linker and pip."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conda.conftest import Conda
from tests.workspace import RESULTS, Workspace

CONDA = ("--sdm", "conda")
PICTURE = f"{RESULTS}/plots/lora/fold0.loss.svg"


def pins(workspace: Workspace, name: str) -> dict[str, str]:
    content = yaml.safe_load((workspace.root / f"envs/{name}.yaml").read_text())
    found = [pin for entry in content["dependencies"] if isinstance(entry, dict) for pin in entry["pip"]]
    return {re.sub(r"\[.*\]", "", name): version for name, _, version in (pin.partition("==") for pin in found)}


def environment_of(workspace: Workspace, name: str) -> Path:
    """Find the environment that Snakemake made of a file: it puts a copy of the file beside it."""
    wanted = (workspace.root / f"envs/{name}.yaml").read_text()
    (made,) = (path for path in (workspace.root / ".snakemake/conda").glob("*.yaml") if path.read_text() == wanted)
    return made.with_suffix("")


@pytest.fixture(scope="module")
def with_data(with_conda: Workspace) -> Workspace:
    """All data steps have run in their environment."""
    with_conda.made = with_conda.executed("data", options=CONDA)
    return with_conda


def test_all_data_steps_ran_in_their_environment_with_its_versions(with_data: Workspace) -> None:
    environment, expected = environment_of(with_data, "data"), pins(with_data, "data")
    metas = sorted((with_data.root / RESULTS).rglob("*.meta.json"))
    assert len(metas) == sum(with_data.made.values()) >= 10
    seen: set[str] = set()
    for path in metas:
        meta = json.loads(path.read_text())
        assert meta["conda"] == environment.name, path
        tools = {name: version for name, version in meta["tools"].items() if name != "python"}
        assert tools == {name: expected[name] for name in tools}, path
        seen |= tools.keys()
    assert {"bm25s", "numpy", "scikit-learn"} <= seen
    (python,) = environment.glob("conda-meta/python-*.json")
    assert {json.loads(path.read_text())["tools"]["python"] for path in metas} == {python.name.split("-")[1]}
    assert not list(environment.glob("lib/python3.11/site-packages/torch")), "the environment is its own"


def test_a_picture_is_drawn_in_the_environment_for_pictures(with_data: Workspace) -> None:
    """The picture's rule alone may run, on a log that was written by hand: its environment has no torch to train."""
    log = with_data.root / RESULTS / "models/lora/fold0/training_log.jsonl"
    log.parent.mkdir(parents=True)
    losses = [{"step": step, "epoch": 0.1 * step, "loss": 3.0 / step} for step in range(1, 9)]
    log.write_text("".join(json.dumps(row) + "\n" for row in losses))
    allowed = ("--allowed-rules", "make_folds", "plot_training", *CONDA)
    assert with_data.executed(PICTURE, options=allowed) == {"plot_training": 1}
    meta = with_data.meta("plots/lora/fold0.loss.meta.json")
    assert meta["conda"] == environment_of(with_data, "plots").name


def test_without_conda_nothing_is_to_be_done(with_data: Workspace) -> None:
    assert with_data.planned("data") == {}
    assert with_data.planned("data", options=CONDA) == {}


def test_snakemake_itself_runs_from_the_environment_of_the_workflow(
    with_data: Workspace, conda: Conda, tmp_path: Path
) -> None:
    environment = tmp_path / "workflow"
    command = ["conda", "env", "create", "--file", "envs/workflow.yaml", "--prefix", str(environment)]
    variables = with_data.environment()
    subprocess.run(command, cwd=with_data.root, env=variables, check=True)
    alone = {"PATH": os.pathsep.join([str(environment / "bin"), "/usr/bin", "/bin"]), "HOME": str(tmp_path)}
    snakemake = [*with_data.command("data", options=("--dry-run",))]
    snakemake[0] = str(environment / "bin/snakemake")
    done = subprocess.run(snakemake, cwd=with_data.root, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr
