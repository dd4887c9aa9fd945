"""What clusters do to jobs: each ends well by itself, with one attempt more or with none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import wait_until
from tests.slurm.workspace import WAIT, SlurmWorkspace
from tests.workspace import RESULTS

TARGET = f"{RESULTS}/records.jsonl"
MEMORY_MB = 700
# Takes memory, then waits as WAIT does.
EAT = (
    f"""python -c 'import pathlib, time; taken = bytearray({MEMORY_MB} << 20); """
    """hold = pathlib.Path.home() / "hold"; [time.sleep(0.2) for _ in iter(hold.exists, False)]'"""
)


@contextmanager
def held_run(workspace: SlurmWorkspace, resources: str, line: str = WAIT) -> Iterator[None]:
    """Run the workflow's first job, which waits as the line of set-up says; at the end, the run must end well."""
    workspace.set_up(f"|-\n      {line}" if ":" in line else line)
    master = workspace.start(TARGET, config=(f"resources={{ingest_records: {{{resources}}}}}",))
    try:
        wait_until(lambda: states(workspace) == ["RUNNING"], 120, "the job runs")
        yield
        printed, _ = master.communicate(timeout=400)
    finally:
        master.kill()
        master.wait()
    assert master.returncode == 0, printed[-3000:]
    assert (workspace.root / TARGET).exists()


def states(workspace: SlurmWorkspace) -> list[str]:
    return [job.state for job in workspace.jobs()]


@pytest.fixture
def workspace(on_cluster: Callable[[], SlurmWorkspace]) -> SlurmWorkspace:
    return on_cluster()


def test_a_cancelled_job_is_submitted_again(workspace: SlurmWorkspace, hold: Path) -> None:
    with held_run(workspace, "mem_mb: 600"):
        workspace.cluster.check("scancel", workspace.jobs()[0].id)
        hold.unlink()
    assert states(workspace) == ["CANCELLED", "COMPLETED"]


def test_a_job_out_of_memory_gets_twice_as_much(workspace: SlurmWorkspace, hold: Path) -> None:
    with held_run(workspace, f"mem_mb: {MEMORY_MB}", EAT):
        wait_until(lambda: states(workspace)[0] != "RUNNING", 60, "SLURM ended the job")
        hold.unlink()
    first, second = workspace.jobs()
    assert (first.state, second.state) in {("FAILED", "COMPLETED"), ("OUT_OF_MEMORY", "COMPLETED")}
    memory = [job.facts["MinMemoryNode"] for job in (first, second)]
    assert memory == [f"{MEMORY_MB}M", f"{2 * MEMORY_MB}M"]
    assert "Exceeded job memory limit" in Path(first.facts["StdErr"]).read_text()


def test_a_job_out_of_time_is_submitted_again(workspace: SlurmWorkspace, hold: Path) -> None:
    with held_run(workspace, "runtime: 1"):
        wait_until(lambda: states(workspace)[0] == "TIMEOUT", 180, "SLURM ended the job")
        hold.unlink()
    assert states(workspace) == ["TIMEOUT", "COMPLETED"]


def test_a_preempted_job_uses_up_no_retry(workspace: SlurmWorkspace, hold: Path) -> None:
    with held_run(workspace, "partition: scavenge, retries: 0"):
        # Both nodes, for a job of the partition that goes first.
        other = workspace.cluster.check("sbatch", "--parsable", "-N2", "--exclusive", "-p", "cpu", "--wrap", "true")
        wait_until(lambda: workspace.jobs()[0].facts["Restarts"] == "1", 60, "the job was preempted")
        hold.unlink()
    (job,) = workspace.jobs()
    assert (job.state, job.partition, job.facts["Restarts"]) == ("COMPLETED", "scavenge", "1")
    assert {one.state for one in workspace.cluster.jobs() if one.id == other.strip()} == {"COMPLETED"}
