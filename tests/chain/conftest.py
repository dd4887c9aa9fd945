"""Workspaces in which parts of the chain have run already; a test takes a copy of its own."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.workspace import Workspace, copy_project

Copy = Callable[[Workspace], Workspace]


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project as it stands, with nothing made."""
    return copy_project(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture(scope="session")
def with_data(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The target `data` has run."""
    workspace = fresh.copy(tmp_path_factory.mktemp("data") / "project")
    workspace.made = workspace.executed("data")
    return workspace


@pytest.fixture(scope="session")
def with_all(with_data: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The whole chain has run."""
    workspace = with_data.copy(tmp_path_factory.mktemp("all") / "project")
    workspace.made = workspace.executed("all")
    return workspace


@pytest.fixture
def copy_of(tmp_path: Path) -> Copy:
    """Make copies of a workspace that a test may change."""
    numbers = count()
    return lambda workspace: workspace.copy(tmp_path / f"project{next(numbers)}")
