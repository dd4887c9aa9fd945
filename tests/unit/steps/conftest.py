"""An empty folder to run a step in, as a job of a run of its own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_environment: None) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETRAIL_RUN", str(tmp_path / "run"))
    return tmp_path
