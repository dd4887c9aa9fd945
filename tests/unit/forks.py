"""Processes of their own, forked from one that has imported the client of language models: it takes over a second."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

PATIENCE_S = 120.0
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["aiohttp", "numpy", "openai", "finetrail.calls.paying_step", "tests.unit.llm.fake_llm"])


def run_forked(command: list[str], folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script as `subprocess.run` would, with these environment variables and no others.

    Args:
        command: the script, and its arguments.
        folder: where it runs.
        variables: its environment.
    """
    with tempfile.TemporaryDirectory() as kept:
        places = [Path(kept) / name for name in ("stdout", "stderr")]
        process = FORKS.Process(target=_run_script, args=(command, folder, dict(variables), places))
        process.start()
        process.join(PATIENCE_S)
        process.kill()  # one that hangs
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(command, process.exitcode, *(place.read_text() for place in places))


def _run_script(command: list[str], folder: Path, variables: Mapping[str, str], places: list[Path]) -> None:
    for number, place in enumerate(places, start=1):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = command
    sys.path.insert(0, str(Path(command[0]).parent))
    runpy.run_path(command[0], run_name="__main__")
