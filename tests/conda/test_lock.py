"""Environments pinned to the last package, and made again from the pins alone."""

import subprocess
from pathlib import Path

from tests.workspace import BIN, ROOT, Workspace

SNAKEFILE = """
rule draw:
    output: "drawn.txt"
    conda: "envs/plots.yaml"
    shell: "python -c 'import matplotlib; print(matplotlib.__version__)' > {output}"
"""


def run(workspace: Workspace, *command: str) -> str:
    done = subprocess.run(
        command, cwd=workspace.root, env=workspace.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def packages(environment: Path) -> list[str]:
    command = [str(environment / "bin/python"), "-m", "pip", "list", "--format=freeze"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_an_environment_made_from_its_lock_holds_what_is_locked(with_conda: Workspace, tmp_path: Path) -> None:
    workspace = with_conda.copy(tmp_path / "project")
    said = run(workspace, "make", "-o", ".venv/.ready", "env-lock", "ENVS=plots")
    assert "written: envs/plots.linux-64.pin.txt" in said
    pins = (workspace.root / "envs/plots.linux-64.pin.txt").read_text()
    assert "@EXPLICIT" in pins and "/python-3.11" in pins and "/pip-" in pins
    script = (workspace.root / "envs/plots.post-deploy.sh").read_text()
    wanted = [line for line in script.splitlines() if "==" in line]
    assert "matplotlib==3.11.2" in wanted and not any(line.startswith("pip==") for line in wanted)

    (workspace.root / "lock.smk").write_text(SNAKEFILE)
    prefix = tmp_path / "environments"
    snakemake = [str(BIN / "snakemake"), "-s", "lock.smk", "--cores", "1", "--conda-prefix", str(prefix)]
    printed = run(workspace, *snakemake, "--sdm", "conda", "--", "draw")
    assert "Using pinnings from" in printed and "Failed to install" not in printed
    assert "Running post-deploy script" in printed
    assert (workspace.root / "drawn.txt").read_text() == "3.11.2\n"
    (copied,) = prefix.glob("*.pin.txt")
    made = packages(copied.with_name(copied.name.removesuffix(".pin.txt")))
    assert set(wanted) < set(made) and len(made) == len(wanted) + 1, "and pip itself"


def test_without_conda_the_lock_says_what_is_missing() -> None:
    alone = {"PATH": "/usr/bin:/bin"}
    command = [str(BIN / "python"), "scripts/setup/lock_envs.py", "plots"]
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "conda is not on the PATH: install Miniforge, or load the site's conda module\n"
