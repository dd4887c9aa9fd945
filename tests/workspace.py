"""A copy of the project in a folder of its own, in which the chain runs at its smallest."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from finetrail.digests.code_digest import tree_digests
from finetrail.digests.kept_sources import KEPT_SOURCES, keep_sources

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("results/tutorial/crag_mm")
BIN = Path(sys.executable).parent


def end(process: "subprocess.Popen[str]") -> None:
    """Kill a workflow that runs, and its jobs: they would go on without it."""
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


@dataclass
class Workspace:
    """The copy, and what runs of the workflow did in it; `made` holds the jobs of the run that prepared it."""

    root: Path
    config: list[str] = field(default_factory=lambda: ["scale=tutorial"])
    configfiles: tuple[str, ...] = ("tests/chain/mini.yaml",)
    variables: dict[str, str] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    timeout_s: int = 3600  # what CI allows is less: a slow machine is no failure of the chain

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FINETRAIL_")}
        paths = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        return kept | paths | self.variables

    def command(self, *arguments: str, config: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> list[str]:
        files = ["--configfile", *self.configfiles] if self.configfiles else []
        given = [*options, "--cores", "2", *files, "--config", *self.config, *config]
        return [str(BIN / "snakemake"), *given, "--", *arguments]

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start the workflow; its `communicate` returns what it printed."""
        return subprocess.Popen(
            self.command(*arguments, **options),
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def snakemake(self, *arguments: str, fails: bool = False, **options: Any) -> str:
        """Run the workflow; return what it printed."""
        process = self.start(*arguments, **options)
        try:
            printed, _ = process.communicate(timeout=self.timeout_s)
        finally:
            end(process)
        assert (process.returncode != 0) == fails, printed[-6000:]
        return printed

    def dry_run(self, *arguments: str, **options: Any) -> str:
        """Return what a dry run prints."""
        return self.snakemake(*arguments, **options | {"options": ("--dry-run", *options.get("options", ()))})

    def planned(self, *arguments: str, **options: Any) -> dict[str, int]:
        """Return how many jobs of each rule a dry run wants, without the targets that only collect."""
        printed = self.dry_run(*arguments, **options)
        table = re.search(r"^Job stats:\n.*\n[- ]+\n((?:\w+ +\d+\n)+)", printed, re.M)
        counts = dict(line.split() for line in table[1].splitlines()) if table else {}
        return {rule: int(count) for rule, count in counts.items() if rule not in {"total", "all", "data", "models"}}

    def runs(self) -> set[str]:
        return {path.name for path in (self.root / "logs/tutorial/runs").glob("*")}

    def records(self, run: str) -> list[dict[str, Any]]:
        folder = self.root / "logs/tutorial/runs" / run / "jobs"
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]

    def new_records(self, before: set[str]) -> list[dict[str, Any]]:
        """Return the records of the jobs of all runs but the earlier ones."""
        return [record for run in self.runs() - before for record in self.records(run)]

    def executed(self, *arguments: str, **options: Any) -> dict[str, int]:
        """Run the workflow and return how many jobs of each rule really ran, by their own records."""
        before = self.runs()
        self.snakemake(*arguments, **options)
        records = self.new_records(before)
        assert {record["status"] for record in records} <= {"complete"}
        return dict(Counter(record["rule"] for record in records))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text, f"{name} holds no {old!r}"
        path.write_text(text.replace(old, new, 1))

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True).stdout

    def meta(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.root / RESULTS / name).read_text())
        return content

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / RESULTS / name).read_text().splitlines()]

    def copy(self, target: Path) -> "Workspace":
        """Copy everything, results and Snakemake's memory of them too; the copy has nothing to do either."""
        shutil.copytree(self.root, target, symlinks=True)
        return replace(self, root=target, config=list(self.config), variables=dict(self.variables))


def copy_project(target: Path) -> Workspace:
    """Copy what git would see (tracked files, and new ones that it does not ignore) and commit it there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if (ROOT / name).is_file() and not name.startswith("tests/unit/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    workspace = Workspace(target)
    workspace.git("init", "-q", "-b", "main")
    workspace.git("add", "-A")
    workspace.git("commit", "-q", "-m", "copy")
    workspace.git("gc", "-q")  # few files to copy
    tree_digests((target / "scripts").rglob("*.py"), target / "scripts")
    keep_sources(target / KEPT_SOURCES)  # no workflow in a copy parses them again
    return workspace


def made_once(folder: Path, make: Callable[[Path], Workspace]) -> Workspace:
    """Make a workspace in the worker that asks first; the others wait for it."""
    folder.mkdir(exist_ok=True)
    made = folder / "made.json"
    with FileLock(folder / "lock"):
        if not made.is_file():
            made.write_text(json.dumps(make(folder / "project").made))
    return Workspace(folder / "project", made=json.loads(made.read_text()))
