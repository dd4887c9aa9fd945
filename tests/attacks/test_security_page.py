"""Every row of SECURITY.md names tests that there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_every_attack_has_its_test(row: str) -> None:
    attack, happens, tests = (part.strip() for part in row.strip("|").split("|"))
    assert attack and happens
    named = re.findall(r"`([^`]*)::(\w+)`", tests)
    assert named
    path = ""
    for file, test in named:
        path = file or path
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{path}::{test}"


def test_the_table_is_not_empty() -> None:
    assert len(ROWS) > 15
