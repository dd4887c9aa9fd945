"""What reruns the steps that load a model: the files in the digest of each are listed, and the lists may only shrink.

A new line in a list is a decision: whoever edits that file makes all results of that step again.
"""

import shutil
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import pytest

from finetrail.digests.code_digest import code_digest, declared_files, direct_imports, result_files
from tests.wiring.test_environments import SCRIPTS, rules

HEAVY = ("train", "export", "dense", "texts")
LISTS = Path(__file__).with_name("closures")
STEPS = sorted({script for _, environment, script in rules() if environment in HEAVY})
# The review of what stays out of every digest: nothing here returns or writes what reaches weights, rows or files that
# later steps read. Each module says why in its `CHANGES_NO_RESULT`.
DECLARED = {
    "finetrail/config/job_memory.py",
    "finetrail/digests/kept_sources.py",
    "finetrail/preflight/base_findings.py",
    "finetrail/serving/ports.py",
    "finetrail/step/gate.py",
    "finetrail/step/journal.py",
    "finetrail/step/progress.py",
    "finetrail/step/reporter.py",
    "finetrail/training/checkpoints/failures.py",
    "finetrail/training/announce.py",
    "finetrail/training/memory_estimate.py",
    "finetrail/training/tracking/tracker.py",
    "finetrail/training/tracking/wandb_run.py",
    "finetrail/training/trainer/operators.py",
}


def list_of(script: Path) -> Path:
    return LISTS / f"{script.stem}.txt"


def covered(script: Path, root: Path) -> set[str]:
    """Return the files in a step's digest, by their paths below the root."""
    return {path.relative_to(root).as_posix() for path in result_files(script, root)}


def chain(script: Path, name: str, root: Path) -> str:
    """Return the shortest way by which a script imports a file, through files that its digest covers."""
    reached = set(result_files(script, root))
    trails: deque[tuple[Path, ...]] = deque([(script,)])
    seen = {script}
    while trails:
        trail = trails.popleft()
        if trail[-1] == root / name:
            return " → ".join(path.relative_to(root).as_posix() for path in trail)
        following = [path for path in direct_imports(trail[-1], root) if path in reached - seen]
        seen.update(following)
        trails.extend((*trail, path) for path in following)
    return f"{script.relative_to(root).as_posix()} → … → {name}"


def complaint(script: Path, listed: Iterable[str], root: Path, where: str) -> str:
    """Say how a step's digest differs from its list, and what to do; empty where it does not."""
    found, known = covered(script, root), set(listed)
    said = []
    if new := sorted(found - known):
        said += [f"An edit of these files would now make the results of {script.stem} again:"]
        said += [f"  {chain(script, name, root)}" for name in new]
        said += [
            "Take what is needed out of the module that brings them in, so that the step need not import it. Or, where",
            "nothing in a file can change a result, let it say so (CHANGES_NO_RESULT, and DECLARED in this test).",
            f"Or add the file to {where} on purpose.",
        ]
    if gone := sorted(known - found):
        said += [f"No longer in the digest of {script.stem}; take these lines out of {where}, so that it stays small:"]
        said += [f"  {name}" for name in gone]
    return "\n".join(said)


def test_every_step_that_loads_a_model_has_its_list() -> None:
    assert sorted(path.name for path in LISTS.iterdir()) == sorted(list_of(script).name for script in STEPS)
    assert len({script.stem for script in STEPS}) == len(STEPS) > 20


@pytest.mark.parametrize("script", STEPS, ids=lambda script: str(script.stem))
def test_a_digest_covers_the_files_of_its_list(script: Path) -> None:
    lines = list_of(script).read_text(encoding="utf-8").splitlines()
    assert lines == sorted(set(lines)), "one name a line, sorted"
    problem = complaint(script, lines, SCRIPTS, f"tests/wiring/closures/{script.stem}.txt")
    if problem:
        pytest.fail(problem, pytrace=False)


def test_these_modules_declare_that_they_change_no_result() -> None:
    found = declared_files((SCRIPTS / "finetrail").rglob("*.py"), SCRIPTS)
    assert {path.relative_to(SCRIPTS).as_posix() for path in found} == DECLARED


def test_no_script_declares_that_it_changes_no_result() -> None:
    scripts = [path for path in SCRIPTS.rglob("*.py") if not path.is_relative_to(SCRIPTS / "finetrail")]
    assert len(scripts) > 80 and declared_files(scripts, SCRIPTS) == []


def test_an_estimate_that_is_corrected_trains_nothing(tmp_path: Path) -> None:
    """What training reads does; so does what decides which rows an update sees, whatever the estimate says."""
    root = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, root, ignore=shutil.ignore_patterns("__pycache__"))
    every = sorted({root / script.relative_to(SCRIPTS) for _, _, script in rules()})
    known = {script: code_digest(script, root) for script in every}

    def rerun_by(name: str) -> set[str]:
        path = root / "finetrail" / name
        path.write_text(path.read_text(encoding="utf-8") + "\nADDED_BY_A_TEST = 1\n", encoding="utf-8")
        before = dict(known)
        known.update({script: code_digest(script, root) for script in every})
        return {script.stem for script in every if known[script] != before[script]}

    for name in ("training/memory_estimate.py", "step/progress.py", "training/tracking/dev_answers.py"):
        assert rerun_by(name) == set(), name
    assert rerun_by("training/trainer/collator.py") == {"train_adapter", "train_image_prefix"}
    assert rerun_by("training/settings/machine_choices.py") == {"train_adapter", "train_image_prefix", "choose_merge"}
    assert rerun_by("training/prefix/prefix_trainer.py") == {"train_image_prefix"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "train/train_it.py": "from lib import loop\n",
        "lib/loop.py": "from lib import shown\nfrom lib.data import rows\n",
        "lib/shown.py": 'CHANGES_NO_RESULT = "It shows."\nfrom lib import colours, numbers\n',
        "lib/colours.py": "",
        "lib/numbers.py": "",
        "lib/data.py": "from lib.numbers import one\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_file_that_is_added_is_named_with_what_imports_it(root: Path) -> None:
    script = root / "train/train_it.py"
    said = complaint(script, ["train/train_it.py", "lib/loop.py", "lib/data.py"], root, "the list")
    assert "train/train_it.py → lib/loop.py → lib/data.py → lib/numbers.py\n" in said
    assert "colours" not in said and "add the file to the list on purpose" in said


def test_a_line_of_a_file_that_is_gone_is_named(root: Path) -> None:
    script = root / "train/train_it.py"
    names = covered(script, root)
    assert complaint(script, names, root, "the list") == ""
    assert complaint(script, {*names, "lib/shown.py"}, root, "the list").endswith("stays small:\n  lib/shown.py")
