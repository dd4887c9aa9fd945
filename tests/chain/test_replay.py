"""`replay`: with the call store and no server, the same data byte for byte, also on other threads and processors."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from finetrail.rows.records import sha256_file
from tests.workspace import RESULTS, Workspace

STAND_IN = Path(__file__).with_name("offline_python.py")
REPLAY = ("llm={mode: replay}",)
OLD_PROCESSOR = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
VARIANTS = {
    f"{threads} threads, {name}": dict.fromkeys(THREADS, str(threads)) | processor
    for threads in (1, 2)
    for name, processor in (("native", {}), ("avx2", OLD_PROCESSOR))
}


def without_servers(workspace: Workspace, folder: Path) -> Path:
    """Let the workspace's jobs run behind the stand-in; return the file in which it notes what it refused."""
    folder.mkdir()
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
    python.chmod(0o755)
    workspace.variables["REFUSED_NOTES"] = str(folder / "refused")
    workspace.variables["PATH"] = os.pathsep.join([str(folder), workspace.environment()["PATH"]])
    return folder / "refused"


def data_files(workspace: Workspace) -> dict[str, str]:
    """Return the hash of every file of the data side, without the records of how and when it was made."""
    folder = workspace.root / RESULTS
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".meta.json")]
    return {str(path.relative_to(folder)): sha256_file(path) for path in sorted(paths)}


def replayed(fresh: Workspace, source: Workspace, target: Path, variant: dict[str, str]) -> Workspace:
    """Make the data side anew from a copy of the call store alone, with no server to be had."""
    workspace = fresh.copy(target / "project")
    workspace.configfiles = source.configfiles
    calls = RESULTS.parent / "calls"
    shutil.copytree(source.root / calls, workspace.root / calls)
    stored = {path.name for path in (workspace.root / calls).iterdir()}
    notes = without_servers(workspace, target / "bin")
    workspace.variables |= variant
    made = workspace.executed("data", config=REPLAY)
    assert made == source.made
    assert not notes.exists(), notes.read_text()
    assert {path.name for path in (workspace.root / calls).iterdir()} == stored
    assert [workspace.meta(f"{name}.meta.json")["llm"]["calls_made"] for name in ("queries", "judged")] == [0, 0]
    return workspace


@pytest.fixture(scope="module")
def tutorial(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The data side of the whole tutorial, made with the offline teacher."""
    workspace = fresh.copy(tmp_path_factory.mktemp("tutorial_data") / "project")
    workspace.configfiles = ()
    workspace.made = workspace.executed("data")
    return workspace


def test_replay_makes_the_same_bytes_without_a_server(fresh: Workspace, with_data: Workspace, tmp_path: Path) -> None:
    workspace = replayed(fresh, with_data, tmp_path, VARIANTS["2 threads, avx2"])
    expected = data_files(with_data)
    assert "folds/fold0/train.jsonl" in expected
    assert data_files(workspace) == expected


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_tutorials_data_are_the_same_everywhere(
    fresh: Workspace, tutorial: Workspace, tmp_path: Path, variant: str
) -> None:
    workspace = replayed(fresh, tutorial, tmp_path, VARIANTS[variant])
    assert data_files(workspace) == data_files(tutorial)


def test_without_the_store_replay_names_the_row_and_live_has_no_server(fresh: Workspace, tmp_path: Path) -> None:
    workspace = fresh.copy(tmp_path / "project")
    notes = without_servers(workspace, tmp_path / "bin")
    target = str(RESULTS / "queries.jsonl")
    printed = workspace.snakemake(target, fails=True, config=REPLAY)
    log = (workspace.root / "logs/tutorial/crag_mm/make_queries.log").read_text()
    last = log.splitlines()[-1]
    assert "make_queries failed: row " in last, printed[-3000:]
    assert "phase 'make_queries' has no stored answer" in last
    assert not notes.exists()
    workspace.snakemake(target, fails=True)
    assert "in scripts/recall/make_queries.py" in notes.read_text(), "the stand-in does refuse"
