"""Workspaces in which parts of the chain have run already; a test takes a copy of its own."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workspace import Workspace, copy_project

Copy = Callable[[Workspace], Workspace]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this test run that all its worker processes see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


@pytest.fixture(scope="session")
def fresh(shared: Path) -> Workspace:
    """The project as it stands, with nothing made."""
    return made_once(shared / "fresh", copy_project)


@pytest.fixture(scope="session")
def with_data(shared: Path, fresh: Workspace) -> Workspace:
    """The target `data` has run."""
    return made_once(shared / "data", lambda root: run_in(fresh.copy(root), "data"))


@pytest.fixture(scope="session")
def with_all(shared: Path, with_data: Workspace) -> Workspace:
    """The whole chain has run."""
    return made_once(shared / "all", lambda root: run_in(with_data.copy(root), "all"))


def run_in(workspace: Workspace, target: str) -> Workspace:
    """Run a target, and keep which jobs it took."""
    workspace.made = workspace.executed(target)
    return workspace


def made_once(folder: Path, make: Callable[[Path], Workspace]) -> Workspace:
    """Make a workspace in the worker that asks first; the others wait for it."""
    folder.mkdir(exist_ok=True)
    made = folder / "made.json"
    with FileLock(folder / "lock"):
        if not made.is_file():
            made.write_text(json.dumps(make(folder / "project").made))
    return Workspace(folder / "project", made=json.loads(made.read_text()))


@pytest.fixture
def copy_of(tmp_path: Path) -> Copy:
    """Make copies of a workspace that a test may change."""
    numbers = count()
    return lambda workspace: workspace.copy(tmp_path / f"project{next(numbers)}")
