"""The command `conda` and its channel, made once."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conda.channel import make_channel
from tests.workspace import ROOT, Workspace, copy_project

ACTIVATE = """export CONDA_PREFIX="$1"
export PATH="$1/bin:$PATH"
"""


@dataclass(frozen=True)
class Conda:
    """A folder with `bin/conda`, `bin/activate`, `channels/` and a package cache."""

    home: Path

    def variables(self, path: str) -> dict[str, str]:
        """Return the environment variables that put it before everything else."""
        # Bytecode would be written for minutes, and is read once. (PIP_NO_COMPILE=1 means the opposite to pip.)
        own = {"FINETRAIL_TEST_CONDA": str(self.home), "PIP_COMPILE": "0", "PIP_ROOT_USER_ACTION": "ignore"}
        return own | {"PATH": os.pathsep.join([str(self.home / "bin"), path])}


@pytest.fixture(scope="session")
def conda(tmp_path_factory: pytest.TempPathFactory) -> Conda:
    """The command, with a channel of this machine's Python and pip."""
    home = tmp_path_factory.mktemp("conda")
    make_channel(home / "channels/conda-forge", tmp_path_factory.mktemp("scratch"))
    command = home / "bin/conda"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/conda/conda_command.py "$@"\n')
    command.chmod(0o755)
    (home / "bin/activate").write_text(ACTIVATE)
    return Conda(home)


@pytest.fixture(scope="session")
def with_conda(conda: Conda, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the project in which `conda` is to be had."""
    workspace = copy_project(tmp_path_factory.mktemp("project") / "project")
    workspace.variables |= conda.variables(workspace.environment()["PATH"])
    return workspace
