"""What all tests share: paths, an environment without the user's keys, and a way to run a script as the rules do."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tiers import pytest_collection_modifyitems, pytest_runtest_protocol, pytest_runtest_teardown
from tests.workspace import Workspace, copy_project, made_once

__all__ = ["pytest_collection_modifyitems", "pytest_runtest_protocol", "pytest_runtest_teardown"]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def frozen_imports() -> Iterator[None]:
    """Keep from garbage collections what stays to the end: the tests themselves, and all that they imported.

    An engine collects when it is made, and gives back at its end what it froze: a job has one engine, but a worker
    has hundreds, and each would walk through all that again, for some tenths of a second.
    """
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)
        yield


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what a run of the workflow would have set."""
    for name in [name for name in os.environ if name.startswith("FINETRAIL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script of a phase in a process of its own, as a rule would."""

    def run(script: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "scripts"),
            "FINETRAIL_RUN": str(tmp_path / "run"),
        }
        command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment | variables,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def namespace() -> list[str]:
    """Return what gives a command a mount namespace: as root, or as root of a user namespace."""
    for command in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        probe = [*command, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("this machine lets nobody mount a file system in a namespace of one's own (unshare -r -m)")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this test run that all its worker processes see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


@pytest.fixture(scope="session")
def fresh(shared: Path) -> Workspace:
    """The project as it stands, with nothing made."""
    return made_once(shared / "fresh", copy_project)
