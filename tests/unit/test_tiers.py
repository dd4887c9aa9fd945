"""Each test is in one tier, and a fast test that does what a slower tier is for fails and says so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests.tiers import pytest_collection_modifyitems, pytest_runtest_protocol, pytest_runtest_teardown
"""
# `torch` and `snakemake` are empty stand-ins in the folder of these tests.
TESTS = """
import os, subprocess, sys, threading
import pytest

def load():
    import torch

def test_light():
    subprocess.run([sys.executable, "-c", "import json"], check=True)

def test_import():
    load()

def test_import_in_a_thread():
    thread = threading.Thread(target=load)
    thread.start()
    thread.join()

def test_child():
    subprocess.run([sys.executable, "-c", "import torch"], check=True)

def test_child_with_variables_of_its_own():
    subprocess.run([sys.executable, "-c", "import torch"], check=True, env={"PYTHONPATH": os.getcwd()})

@pytest.fixture(scope="session")
def model():
    load()

def test_fixture(model):
    pass

def test_workflow():
    subprocess.run(["./snakemake", "--version"])

@pytest.mark.chain
def test_marked_workflow():
    subprocess.run(["./snakemake", "--version"])

@pytest.mark.heavy
def test_marked_import():
    load()
"""
REFUSED = {
    "test_import": "it imports torch: it belongs to the tier heavy",
    "test_import_in_a_thread": "it imports torch: it belongs to the tier heavy",
    "test_child": "a process that it starts imports torch: it belongs to the tier heavy",
    "test_child_with_variables_of_its_own": "a process that it starts imports torch: it belongs to the tier heavy",
    "test_fixture": "it imports torch: it belongs to the tier heavy",
    "test_workflow": "it starts Snakemake: it belongs to the tier chain",
}
PASSED = {"test_light", "test_marked_workflow", "test_marked_import"}


def run_pytest(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=line", *options, "test_some.py"]
    path = os.pathsep.join(map(str, (folder, ROOT)))
    variables = os.environ | {"PYTHONPATH": path, "COLUMNS": "500"}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "torch.py").touch()
    (tmp_path / "snakemake").write_text("#!/bin/sh\n")
    (tmp_path / "snakemake").chmod(0o755)
    return tmp_path


@pytest.mark.heavy  # the guard would report what the tests in the child process do
def test_a_fast_test_that_is_none_fails_and_says_where_it_belongs(folder: Path) -> None:
    printed = run_pytest(folder)
    for name, why in REFUSED.items():
        lines = re.findall(rf"^(?:FAILED|ERROR) test_some\.py::{name} - (.*)$", printed, re.M)
        assert lines and all(f"this test is in the tier fast, but {why}" in line for line in lines), printed
    assert {*re.findall(r"^PASSED test_some\.py::(\w+)$", printed, re.M)} >= PASSED


@pytest.mark.parametrize(
    ("tier", "names"),
    [("fast", {"test_light", *REFUSED}), ("heavy", {"test_marked_import"}), ("chain", {"test_marked_workflow"})],
)
def test_tests_are_chosen_by_their_tier(folder: Path, tier: str, names: set[str]) -> None:
    printed = run_pytest(folder, "--collect-only", "-q", "-m", tier)
    assert {*re.findall(r"::(\w+)$", printed, re.M)} == names
