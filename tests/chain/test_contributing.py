"""CONTRIBUTING.md is run as it is written: every command, every file, every change, and what it says is printed."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.workspace import BIN, RESULTS, ROOT, Workspace

PAGE = ROOT / "CONTRIBUTING.md"
PINS = ("requirements.txt", "envs/constraints.txt", "pyproject.toml")
SECTIONS = ["Set up", "Run one step by hand", "Change it, and see what reruns", "Test"]
SECTIONS += ["Add a step", "Add a recipe", "Add a reader"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
NAMED = re.compile(r"\b(Write|Append to|Change) `([^`]+)`:$")


class Block(NamedTuple):
    """A block of the page; `told` is the text between the block before it and this one."""

    line: int
    kind: str
    content: str
    told: str


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page, in their order."""
    blocks, end = [], 0
    for match in FENCE.finditer(page):
        line = page.count("\n", 0, match.start()) + 1
        blocks.append(Block(line, match[1], match[2], page[end : match.start()].strip()))
        end = match.end()
    around = FENCE.sub("", page)
    assert not re.search(r"```|~~~|^(?: {4}|\t)", around, re.M), "a block of another form: nothing would run it"
    return blocks


def words(text: str) -> list[str]:
    """Return the lines of a text without their times, and with one space for several."""
    lines = (re.sub(r"^\d\d:\d\d:\d\d INFO ", "", line) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines]


@dataclass
class Reader:
    """A new developer who does what the page says, in one terminal."""

    root: Path
    variables: dict[str, str]
    printed: dict[int, str] = field(default_factory=dict)  # by the line of the block
    place: str = ""  # the file that the last change was made in

    def follow(self, block: Block) -> None:
        """Do what a block says; fail where it cannot be done, or where something else comes out."""
        named = NAMED.search(block.told)
        if block.kind == "bash":
            self.printed[block.line] = self.run(block)
        elif block.kind == "text":
            said, printed = words(block.content), words(self.last())
            # Snakemake lists rules in no order that it promises.
            parts = [sorted(printed[start : start + len(said)]) for start in range(len(printed))]
            assert sorted(said) in parts, (
                f"CONTRIBUTING.md:{block.line}: not in what was printed\n{self.last()[-3000:]}"
            )
        elif block.kind == "diff":
            self.place = named[2] if named else self.place
            assert not named or named[1] == "Change", block
            self.change(self.root / self.place, block)
        else:
            assert named, f"CONTRIBUTING.md:{block.line}: nobody is told what to do with this block"
            self.write(self.root / named[2], named[1], block.content)

    def last(self) -> str:
        """Return what the last command printed."""
        return self.printed[max(self.printed)]

    def run(self, block: Block) -> str:
        """Run commands; what they set stays set for the next ones."""
        kept = self.root.parent / "variables"
        script = f"set -euo pipefail\n{block.content}\nenv -0 > {kept}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.root,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"CONTRIBUTING.md:{block.line}\n{done.stdout[-6000:]}"
        self.variables = dict(one.split("=", 1) for one in kept.read_text().split("\0") if "=" in one)
        return done.stdout

    def write(self, path: Path, verb: str, content: str) -> None:
        """Write a file that is not there yet, or append to one that is."""
        assert path.exists() == (verb == "Append to"), path
        before = path.read_text() + "\n\n" if path.exists() else ""
        path.write_text(before + content)

    def change(self, path: Path, block: Block) -> None:
        """Replace the lines that a change shows without `+` by those that it shows without `-`."""
        lines = block.content.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        text = path.read_text()
        assert text.count(old) == 1, f"CONTRIBUTING.md:{block.line}: {path} does not hold these lines once"
        path.write_text(text.replace(old, new))


def give_environment(root: Path) -> None:
    """Stand in for `make env`: the environment of this test, with the mark that it is made of these pins."""
    folder = root / ".venv"
    folder.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".ready":
            (folder / path.name).symlink_to(path)
    pins = b"".join((root / name).read_bytes() for name in PINS)
    (folder / ".ready").write_text(hashlib.sha256(pins).hexdigest() + "\n")


@pytest.fixture(scope="module")
def reader(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The reader, who has read to the end."""
    root = fresh.copy(tmp_path_factory.mktemp("contributing") / "project").root
    give_environment(root)
    # `make env` would have linked the library of this folder; here it is that of another.
    variables = {"PYTHONPATH": str(root / "scripts"), "PYTHONDONTWRITEBYTECODE": ""}
    reader = Reader(root, Workspace(root).environment() | variables)
    for block in blocks_of(PAGE.read_text(encoding="utf-8")):
        reader.follow(block)
    return reader


def test_every_command_and_every_change_of_the_page_works(reader: Reader) -> None:
    assert len(reader.printed) == PAGE.read_text(encoding="utf-8").count("```bash")
    assert any(
        "output: results/tutorial/crag_mm_graded/relevant.jsonl" in printed for printed in reader.printed.values()
    )
    counts = json.loads((reader.root / RESULTS / "label_counts.json").read_text())
    assert counts["relevant"] > 0 and counts["not_relevant"] > 0
    assert (reader.root / "results/by_hand/faq.jsonl").read_text().count("\n") == 3


def test_what_the_page_adds_is_in_the_style_of_the_project(reader: Reader) -> None:
    added = ["scripts/label/count_labels.py", "scripts/ingest/readers"]
    for command in (["ruff", "check", *added], ["ruff", "format", "--check", *added], ["snakefmt", "--check", "rules"]):
        done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=reader.root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "page", ["  ```bash\nls\n```\n", "~~~\nls\n~~~\n", "Then:\n\n    ls\n", "Look:\n\n```toml\na = 1\n```\n"]
)
def test_a_block_that_nothing_would_run_fails(page: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"nothing would run it|nobody is told"):
        for block in blocks_of(page):
            Reader(tmp_path, {}).follow(block)


def test_the_page_has_its_sections_and_names_only_what_is_there() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", page, re.M) == SECTIONS
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    asked = re.findall(r"\bmake ([a-z][a-z-]*)`", page)
    assert {"test", "test-full", "evidence", "lint"} <= {*asked} <= {*targets}
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page)]
    assert [link for link in links if not (ROOT / link).exists()] == []
