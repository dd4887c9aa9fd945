"""Workspaces in which parts of the chain have run already; a test takes a copy of its own."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.workspace import Workspace, made_once

Copy = Callable[[Workspace], Workspace]


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


@pytest.fixture
def copy_of(tmp_path: Path) -> Copy:
    """Make copies of a workspace that a test may change."""
    numbers = count()
    return lambda workspace: workspace.copy(tmp_path / f"project{next(numbers)}")
