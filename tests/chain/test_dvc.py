"""Results travel by DVC: what was made and pushed in one folder is made by nobody a second time."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chain.dvc_project import DVC, clone, commit, damaged, make, run, stored, with_remote
from tests.chain.stand_in_conda import StandInConda
from tests.chain.test_reruns import NO_CHANGE_OF_BYTES, RECORDS, SELECTION, SOURCE, append, new_record, once
from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]
CALLS = Path("results/tutorial/calls")
TARGETS = ("all", "data")
WITH_CONDA = ("--sdm", "conda")


@pytest.fixture(scope="module")
def pushed(with_all: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The whole chain has run, its results were pushed and their pins committed."""
    workspace = with_remote(with_all.copy(tmp_path_factory.mktemp("pushed") / "project"), "crag_mm")
    make(workspace, "push")
    commit(workspace, "results")
    return workspace


def test_the_stages_are_those_of_the_rules(fresh: Workspace) -> None:
    check = [sys.executable, "scripts/setup/write_dvc_stages.py", "--check"]
    run(fresh, *check)


@pytest.fixture(scope="module")
def remote(pushed: Workspace) -> Path:
    return pushed.root.with_name(f"{pushed.root.name}.remote")


def add_record(workspace: Workspace) -> None:
    append(workspace.root / SOURCE, json.dumps(new_record(workspace)) + "\n")


def test_a_clone_with_pulled_results_makes_nothing_and_after_a_change_its_path_alone(
    pushed: Workspace, tmp_path: Path
) -> None:
    there = clone(pushed, tmp_path / "elsewhere")
    assert sum(there.planned(*TARGETS).values()) > 10, "a clone alone has all to do"
    printed = make(there, "pull")
    assert f"{len(list((pushed.root / RESULTS).rglob('*.meta.json')))} jobs adopted, 0 not" in printed
    assert there.planned(*TARGETS) == {}
    assert there.git("status", "--porcelain") == ""
    add_record(there)
    assert there.executed("data") == once(RECORDS)
    made = {phase: there.meta(f"{phase}.meta.json")["llm"]["calls_made"] for phase in ("answers", "judged")}
    assert all(0 < calls <= 2 for calls in made.values()), "two versions of one record's answer, all others stored"


def test_a_pulled_file_that_does_not_match_its_lock_is_reported_and_never_adopted(
    pushed: Workspace, remote: Path, tmp_path: Path
) -> None:
    there = clone(pushed, tmp_path / "elsewhere")
    train = pushed.root / RESULTS / "folds/fold0/train.jsonl"
    kept = stored(remote, train)
    original = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(original.replace(b"e", b"3", 1))
    try:
        printed = make(there, "pull", fails=True)
    finally:
        kept.write_bytes(original)
    name = f"{RESULTS}/folds/fold0/train.jsonl"
    assert f"not as pinned, and not taken over: {name}: has other bytes than were pinned" in printed
    assert f"will be made anew: make_folds crag_mm fold0: {name}: is not as it was pinned" in printed
    assert "adopted: make_folds" not in printed
    assert there.executed("data") == once(["make_folds"]), printed[-4000:]
    assert (there.root / name).read_bytes() == original


def test_what_dvc_does_not_have_stays_and_calls_are_united(pushed: Workspace, tmp_path: Path) -> None:
    there = clone(pushed, tmp_path / "elsewhere")
    own = there.root / CALLS / "20260101T000000Z-paid-here.jsonl"
    own.parent.mkdir(parents=True)
    own.write_text("paid\n")
    answers = there.root / RESULTS / "answers.jsonl"
    answers.parent.mkdir(parents=True)
    answers.write_text("made here\n")
    printed = make(there, "pull", fails=True)
    assert "answers.jsonl" in printed and "DVC would overwrite what it does not have" in printed
    assert answers.read_text() == "made here\n" and own.read_text() == "paid\n"
    answers.unlink()
    make(there, "pull")
    pulled = {path.name for path in (pushed.root / CALLS).iterdir()}
    assert {path.name for path in (there.root / CALLS).iterdir()} == pulled | {own.name}
    assert own.read_text() == "paid\n"


def test_half_made_results_are_not_pushed(pushed: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(pushed)
    before = (workspace.root / "dvc.lock").read_bytes()
    append(workspace.root / "scripts/finetrail/examples/select.py", NO_CHANGE_OF_BYTES)
    assert "the results are not those of the present files" in make(workspace, "push", fails=True)
    assert (workspace.root / "dvc.lock").read_bytes() == before


def can_reflink(folder: Path) -> bool:
    """Tell whether DVC could share the bytes of files in a folder (btrfs, XFS)."""
    from dvc_objects.fs.local import LocalFileSystem

    (folder / "one").write_text("x")
    try:
        LocalFileSystem().reflink(str(folder / "one"), str(folder / "two"))
    except OSError:
        return False
    return True


@pytest.mark.long
@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink", "reflink"])
def test_each_link_type(pushed: Workspace, remote: Path, tmp_path: Path, link: str) -> None:
    if link == "reflink" and not can_reflink(tmp_path):
        pytest.skip(f"the file system of {tmp_path} has no reflinks")
    there = clone(pushed, tmp_path / "elsewhere", link)
    make(there, "pull")
    train = there.root / RESULTS / "folds/fold0/train.jsonl"
    assert train.is_symlink() == (link == "symlink")
    assert (train.stat().st_nlink > 1) == (link == "hardlink")
    assert there.planned(*TARGETS) == {}
    append(there.root / "scripts/export/merge_adapter.py", NO_CHANGE_OF_BYTES)
    assert there.executed(*TARGETS)["merge_adapter"] == 1, "a folder is published over links"
    assert damaged(there.root / ".dvc/cache") == [], "nothing was written through a link"
    make(there, "push")
    assert damaged(there.root / ".dvc/cache") == [] and damaged(remote) == []
    assert there.planned(*TARGETS) == {}
    add_record(there)
    assert there.executed("data") == once(RECORDS)
    assert there.planned("data") == {}
    assert damaged(there.root / ".dvc/cache") == []


@pytest.mark.long
def test_an_older_commit_and_a_branch_and_back(pushed: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(pushed)
    older = workspace.git("rev-parse", "HEAD").strip()
    metrics = workspace.root / RESULTS / "metrics/lora/fold0.json"
    before = metrics.read_bytes()
    workspace.git("checkout", "-q", "-b", "more")
    workspace.edit("config/config.yaml", '"resamples": 100', '"resamples": 110')
    ran = workspace.executed(*TARGETS)
    assert ran["score_answers"] == 1 and "train_adapter" not in ran
    make(workspace, "push")
    commit(workspace, "more resamples")
    after = metrics.read_bytes()
    assert after != before
    for commit_or_branch, expected in ((older, before), ("more", after), ("main", before), ("more", after)):
        workspace.git("checkout", "-q", commit_or_branch)
        make(workspace, "checkout")
        assert metrics.read_bytes() == expected
        assert workspace.planned(*TARGETS) == {}, commit_or_branch
    workspace.git("checkout", "-q", "-b", "third", older)
    make(workspace, "checkout")
    append(workspace.root / "scripts/finetrail/examples/select.py", NO_CHANGE_OF_BYTES)
    assert workspace.executed("data") == once(SELECTION)


@pytest.mark.long
@pytest.mark.parametrize("made_with", ["conda", "no conda"])
def test_made_with_conda_and_pulled_without_and_the_reverse(
    fresh: Workspace, copy_of: Copy, tmp_path: Path, made_with: str
) -> None:
    documents = copy_of(fresh)
    documents.configfiles = ("tests/chain/mini_documents.yaml",)
    workspace = with_remote(documents, "documents")
    commit(workspace, "settings")
    conda = StandInConda(tmp_path / "conda")
    workspace.variables["PATH"] = os.pathsep.join([str(conda.bin), workspace.environment()["PATH"]])
    first, second = (WITH_CONDA, ()) if made_with == "conda" else ((), WITH_CONDA)
    workspace.snakemake(*TARGETS, options=first)
    assert bool(conda.activated()) == (made_with == "conda")
    make(workspace, "push")
    commit(workspace, "results")
    there = clone(workspace, tmp_path / "elsewhere")
    make(there, "pull")
    assert there.planned(*TARGETS, options=second) == {}
    assert there.planned(*TARGETS, options=first) == {}


@pytest.mark.long
def test_dvc_reproduces_and_compares(pushed: Workspace, tmp_path: Path) -> None:
    there = clone(pushed, tmp_path / "elsewhere")
    make(there, "pull")
    assert "didn't change, skipping" in run(there, DVC, "repro", "crag_mm-tutorial")
    there.edit("config/config.yaml", '"max_steps": 2', '"max_steps": 3')
    printed = run(there, DVC, "repro", "crag_mm-tutorial")
    assert "snakemake" in printed and "didn't change, skipping" not in printed
    assert there.planned(*TARGETS) == {}
    assert "metrics/lora/fold0.json" in run(there, DVC, "metrics", "diff")
    picture = "results/tutorial/crag_mm/plots/lora/fold0.loss.svg"
    page = run(there, DVC, "plots", "diff", "--quiet", "--targets", picture, "-o", "compared")
    html = (there.root / "compared/index.html").read_text()
    assert page == "" and html.count("fold0.loss.svg") >= 2
    assert len(list((there.root / "compared/static").rglob("*.svg"))) >= 2
