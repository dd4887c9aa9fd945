"""`make` sets up an environment again where its pins changed, and nowhere else: file times say nothing."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PINS = ("requirements.txt", "envs/constraints.txt", "pyproject.toml")
VLLM_PINS = ("envs/vllm.yaml", "envs/vllm-cpu.txt", "scripts/setup/make_vllm_env.py")
MADE = {".venv/.ready": PINS, ".venv-vllm/.gpu": VLLM_PINS, ".venv-vllm-cpu/.cpu": VLLM_PINS}
# Stands for Python: it notes each call, and a virtual environment made by it holds it.
STAND_IN = """#!/bin/sh
echo "$@" >> "{calls}"
for last; do :; done
case "$1 $2 $3" in
  "-m venv "*) folder="$last" ;;
  *make_vllm_env.py*) folder="$5" ;;
  *) exit 0 ;;
esac
mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python"
"""
Make = Callable[..., int]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile, the pins, and a stand-in for Python."""
    folder = tmp_path / "project"
    for name in ("Makefile", *PINS, *VLLM_PINS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    stand_in = tmp_path / "python3.11"
    stand_in.write_text(STAND_IN.format(calls=tmp_path / "calls"))
    stand_in.chmod(0o755)
    return folder


@pytest.fixture
def calls_of(project: Path) -> Make:
    """Make a target, and count the calls of Python for it."""

    def made(target: str) -> int:
        calls = project.parent / "calls"
        calls.write_text("")
        command = ["make", target, f"PYTHON={project.parent / 'python3.11'}"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return len(calls.read_text().splitlines())

    return made


@pytest.mark.parametrize("made", MADE)
def test_a_set_up_is_made_once_whatever_the_times_of_its_files(project: Path, calls_of: Make, made: str) -> None:
    assert calls_of(made) > 0
    assert calls_of(made) == 0
    for moment in (1, 2_000_000_000):
        for name in ("Makefile", *PINS, *VLLM_PINS):
            os.utime(project / name, (moment, moment))
        assert calls_of(made) == 0


@pytest.mark.parametrize(("made", "pins"), [(made, name) for made, names in MADE.items() for name in names])
def test_an_edited_pin_makes_it_anew_once(project: Path, calls_of: Make, made: str, pins: str) -> None:
    calls_of(made)
    with (project / pins).open("a") as text:
        text.write("# edited\n")
    assert calls_of(made) > 0
    assert calls_of(made) == 0


def test_vllm_for_cpus_can_be_made_beside_the_virtual_environment(project: Path, calls_of: Make) -> None:
    assert calls_of(".venv-vllm-cpu/.cpu") > 0
    assert not (project / ".venv").exists()
    assert calls_of(".venv-vllm/.gpu") > 0
    assert (project / ".venv/.ready").exists(), "reads YAML"


def test_a_set_up_that_failed_is_made_again(project: Path, calls_of: Make) -> None:
    calls_of(".venv/.ready")
    (project / ".venv/.ready").write_text("")
    assert calls_of(".venv/.ready") > 0
