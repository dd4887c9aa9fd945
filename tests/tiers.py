"""The tiers of the tests: each test is in one, and a fast test that does what a slower tier is for fails.

fast   imports no torch and starts no workflow
heavy  imports torch or transformers, or works for many seconds: kills, fuzzing, full disks
chain  starts Snakemake
long   takes minutes: only `make evidence` runs it

A test in a folder of SLOW_FOLDERS, or with a fixture of SLOW_FIXTURES, is in the tier named there.
Any other test that is not fast has a marker that says so. The slowest tier named counts.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pytest

from tests.guard.sitecustomize import HEAVY, REPORT

TIERS = ("fast", "heavy", "chain", "long")
SLOW_FIXTURES = {"base_dir": "heavy", "wide_base": "heavy", "fresh": "chain"}
SLOW_FOLDERS = {"chain": "chain", "slurm": "chain", "conda": "chain", "vllm": "heavy"}
GUARD = str(Path(__file__).parent / "guard")


def tier_of(item: pytest.Item) -> str:
    """Return the slowest tier that a test's markers, its folder and its fixtures name."""
    named = {mark.name for mark in item.iter_markers()} & {*TIERS}
    named |= {SLOW_FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in SLOW_FIXTURES}
    named |= {tier for folder, tier in SLOW_FOLDERS.items() if item.path.parent.name == folder}
    return max(named, key=TIERS.index, default="fast")


def is_workflow(command: Any) -> bool:
    """Tell whether a command runs Snakemake: as a program, as a script of a Python, or as its module."""
    words = [command] if isinstance(command, str | bytes | os.PathLike) else list(command)
    names = [PurePath(os.fsdecode(word)).name for word in words[:3]]
    return "snakemake" in names[:2] or names[1:] == ["-m", "snakemake"]


def verdict(what: str) -> str:
    """Say what a fast test did, and which tier it belongs to."""
    tier = "chain" if "Snakemake" in what else "heavy"
    return (
        f"this test is in the tier fast, but {what}: it belongs to the tier {tier}. "
        f"Mark it with @pytest.mark.{tier}, or test the same without that (tests/tiers.py)."
    )


class Guard:
    """Watches the fast test that runs."""

    def __init__(self) -> None:
        self.watches = False
        self.loaded: set[str] = set()  # what was imported before the test
        self.seen: list[str] = []
        self.report = Path(tempfile.mkdtemp(prefix="tiers-")) / "report"  # child processes write to it
        sys.addaudithook(self.heed)

    def heed(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Refuse what a fast test must not do; Python calls this before each import and each start of a process."""
        if not self.watches:
            return
        if event == "import" and arguments[0] in HEAVY:
            self.refuse(f"it imports {arguments[0]}")
        elif event == "subprocess.Popen":
            _, command, _, variables = arguments
            if is_workflow(command):
                self.refuse("it starts Snakemake")
            watch_child(os.environ if variables is None else variables, self.report)

    def refuse(self, what: str) -> None:
        """Remember what the test did, as a thread may swallow the failure, and fail."""
        self.seen.append(what)
        pytest.fail(verdict(what))

    def result(self) -> list[str]:
        """Return what the test and its child processes did, and forget it."""
        seen, self.seen = self.seen, []
        if self.watches:  # importlib.import_module raises no event
            seen += [f"it imports {name}" for name in HEAVY if name in sys.modules.keys() - self.loaded]
        if self.report.exists():
            seen += self.report.read_text(encoding="utf-8").splitlines()
            self.report.unlink()
        return seen


def watch_child(variables: Any, report: Path) -> None:
    """Let a child process read the guard's sitecustomize.py."""
    path = variables.get("PYTHONPATH", "")
    if GUARD not in path.split(os.pathsep):
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [GUARD, path]))
    variables[REPORT] = str(report)


guard = Guard()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, before pytest chooses tests by their markers."""
    for item in items:
        item.add_marker(tier_of(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Watch a fast test and the fixtures that are made for it."""
    before = dict(os.environ)
    guard.watches = tier_of(item) == "fast"
    guard.loaded = {*sys.modules}
    try:
        return (yield)
    finally:
        guard.watches = False
        for name in ("PYTHONPATH", REPORT):
            os.environ.pop(name, None)
            os.environ.update({name: before[name]} if name in before else {})


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Fail a fast test for what its threads and its child processes did."""
    for what in guard.result()[:1]:
        pytest.fail(verdict(what))
