"""A small project whose configuration each test changes."""

from pathlib import Path

import pytest

from tests.unit.config.fish_project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
