"""The cluster, started once for all tests, and workspaces whose workflow runs on it."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import MISSING_HINT, Cluster, missing_programs, running_cluster
from tests.slurm.workspace import SlurmWorkspace, slurm_workspace
from tests.workspace import Workspace, copy_project


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster. Its folder is not pytest's: the path of a socket may have 107 characters."""
    if missing := missing_programs():
        pytest.fail(f"this machine lacks {', '.join(missing)}: {MISSING_HINT}")
    # What ends pytest (`timeout` in CI) must stop the cluster, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="finetrail-slurm-") as folder, running_cluster(Path(folder) / "c") as one:
        yield one


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project as it stands, with nothing made."""
    return copy_project(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture
def on_cluster(cluster: Cluster, fresh: Workspace, tmp_path: Path) -> Callable[[], SlurmWorkspace]:
    """Make a workspace whose workflow runs on the cluster."""
    return lambda: slurm_workspace(fresh, tmp_path / "project", cluster)


@pytest.fixture
def hold(cluster: Cluster) -> Iterator[Path]:
    """Make the file that jobs with a waiting set-up line wait for the end of."""
    path = cluster.home / "hold"
    path.touch()
    yield path
    path.unlink(missing_ok=True)
