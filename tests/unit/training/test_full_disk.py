"""A disk that is full while a checkpoint is written: the cause is named, nothing is lost, and the weights come out."""

import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.unit.training.training_process import PATIENCE, Training, environment

# A file system of its own for the state directory, with so many bytes left; and all of it, later.
FULL_THEN_FREE = """
mount -t tmpfs -o size={size} tmpfs {state}
head -c {taken} /dev/zero > {state}/ballast
{run}; echo "first: $?"
ls {state}/*/complete.json; rm {state}/ballast
{run}; echo "second: $?"
"""


@pytest.mark.long
def test_a_full_file_system(training: Callable[..., Training], namespace: list[str]) -> None:
    """It has room for one checkpoint and a half."""
    straight, broken = training("straight"), training("broken")
    assert straight.run()[0] == 0
    first, *_ = sorted((straight.folder / "state").glob("checkpoint-*"))
    one = sum(path.stat().st_blocks * 512 for path in first.iterdir())
    run, state = f"{sys.executable} -m tests.unit.training.runner {broken.write()}", broken.folder / "state"
    state.mkdir()
    script = FULL_THEN_FREE.format(size=20 * one, taken=20 * one - one - one // 2, state=state, run=run)
    command = [*namespace, "sh", "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert "first: 1" in done.stdout, done.stdout + done.stderr
    assert "the disk is full" in done.stderr and "continues from the newest complete checkpoint" in done.stderr
    assert "checkpoint-1/complete.json" in done.stdout and "checkpoint-2/complete.json" not in done.stdout
    assert "second: 0" in done.stdout, done.stderr
    assert broken.sha256() == straight.sha256() and broken.log() == straight.log()


@pytest.mark.long
def test_a_limit_for_files(training: Callable[..., Training]) -> None:
    """The system then says that the file is too large; the optimizer's state is the first that is."""
    run = training("limited")
    process = run.start(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)))
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "the disk is full" in said, said
    assert run.checkpoints() == []
    assert run.run()[0] == 0
