"""The set-up of vLLM's environment: what it replaces, what it leaves alone, what remains of a failure."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workspace import ROOT

# A base Python that makes the folder and then fails, as a download does.
BASE = '#!/bin/sh\n[ "$1" = -m ] || exit 9\nmkdir -p "$3/bin"\ntouch "$3/pyvenv.cfg"\necho no network\nexit 1\n'


def make(folder: Path, base: Path) -> "subprocess.CompletedProcess[str]":
    program = ROOT / "scripts/setup/make_vllm_env.py"
    options = ["--build", "cpu", "--folder", str(folder), "--python", str(base)]
    command = [sys.executable, "-I", "-S", str(program), *options]  # no package is there when it runs beside `make env`
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "python"
    path.write_text(BASE)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("exists", [False, True])
def test_nothing_half_made_is_left(tmp_path: Path, base: Path, exists: bool) -> None:
    folder = tmp_path / "env"
    if exists:
        folder.mkdir()
        (folder / "pyvenv.cfg").touch()
    done = make(folder, base)
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert not folder.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, base: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "thesis.tex").touch()
    done = make(folder, base)
    assert done.returncode == 1
    assert "left alone" in done.stderr
    assert (folder / "thesis.tex").exists()
