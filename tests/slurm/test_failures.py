"""What clusters do to queues and masters: preemption, closed partitions, refused submissions, Ctrl-C."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import PATIENCE_S, wait_until
from tests.slurm.test_resume import python
from tests.slurm.workspace import WAIT, SlurmWorkspace
from tests.workspace import RESULTS

pytestmark = pytest.mark.long
TARGET = f"{RESULTS}/records.jsonl"
OTHER = f"{RESULTS}/passages.jsonl"


@contextmanager
def started(workspace: SlurmWorkspace, resources: str, *targets: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the workflow under some resources, as long as the block lasts."""
    master = workspace.start(*(targets or (TARGET,)), config=(f"resources={{{resources}}}",))
    try:
        yield master
    finally:
        master.kill()
        master.wait()


def finish(workspace: SlurmWorkspace, master: "subprocess.Popen[str]") -> str:
    """Wait until the run has ended well by itself; return what it printed."""
    printed, _ = master.communicate(timeout=1500)
    assert master.returncode == 0, printed[-3000:]
    assert (workspace.root / TARGET).exists()
    return printed


def states(workspace: SlurmWorkspace) -> list[str]:
    return [job.state for job in workspace.jobs()]


@pytest.fixture
def workspace(on_cluster: Callable[[], SlurmWorkspace]) -> Iterator[SlurmWorkspace]:
    one = on_cluster()
    yield one
    one.cluster.mend()


def test_a_preempted_job_uses_up_no_retry(workspace: SlurmWorkspace, hold: Path) -> None:
    workspace.set_up(WAIT)
    with started(workspace, "ingest_records: {partition: scavenge, retries: 0}") as master:
        wait_until(lambda: states(workspace) == ["RUNNING"], PATIENCE_S, "the job runs")
        (job,) = workspace.jobs()
        # A job of the partition that goes first wants both nodes.
        other = workspace.cluster.check("sbatch", "--parsable", "-N2", "--exclusive", "-p", "cpu", "--wrap", "true")
        wait_until(lambda: workspace.jobs()[0].facts["Restarts"] == "1", PATIENCE_S, "the job was preempted")
        hold.unlink()
        finish(workspace, master)
    (again,) = workspace.jobs()
    assert (again.id, again.state, again.facts["Restarts"]) == (job.id, "COMPLETED", "1")
    assert {one.state for one in workspace.cluster.jobs() if one.id == other.strip()} == {"COMPLETED"}


def test_a_closed_partition_is_waited_for(workspace: SlurmWorkspace) -> None:
    cluster, refused = workspace.cluster, workspace.root / "logs/slurm/refused.log"
    cluster.check("scontrol", "update", "partitionname=cpu", "state=drain")
    with started(workspace, "ingest_records: {retries: 0}") as master:
        # A drained partition takes no job; one that is down takes jobs and lets them wait.
        wait_until(
            lambda: refused.exists() and "inactive or drain" in refused.read_text(), PATIENCE_S, "SLURM refused the job"
        )
        _, status = python(workspace, "scripts/setup/show_status.py")
        assert "SLURM refuses jobs" in status and "inactive or drain" in status, status
        cluster.check("scontrol", "update", "partitionname=cpu", "state=down")
        wait_until(lambda: states(workspace) == ["PENDING"], PATIENCE_S, "the job waits")
        wait_until(lambda: workspace.jobs()[0].facts["Reason"] == "PartitionDown", PATIENCE_S, "SLURM says why")
        _, status = python(workspace, "scripts/setup/show_status.py")
        assert "PartitionDown" in status, status
        cluster.check("scontrol", "update", "partitionname=cpu", "state=up")
        finish(workspace, master)
    assert states(workspace) == ["COMPLETED"]


def test_a_refused_job_is_named_and_others_go_on(workspace: SlurmWorkspace) -> None:
    wrong = "load_passages: {local: false, partition: nowhere}"
    with started(workspace, wrong, TARGET, OTHER) as master:
        printed, _ = master.communicate(timeout=1500)
    assert master.returncode != 0
    assert "invalid partition specified: nowhere" in printed
    assert (workspace.root / TARGET).exists() and not (workspace.root / OTHER).exists()
    assert [job.rule for job in workspace.jobs()] == ["ingest_records"]
    workspace.snakemake(TARGET, OTHER, config=("resources={load_passages: {local: false}}",))
    assert [job.rule for job in workspace.jobs()] == ["ingest_records", "load_passages"]


def test_ctrl_c_cancels_the_jobs_and_unlocks(workspace: SlurmWorkspace, hold: Path) -> None:
    workspace.set_up(WAIT)
    with started(workspace, "ingest_records: {retries: 0}") as master:
        wait_until(lambda: states(workspace) == ["RUNNING"], PATIENCE_S, "the job runs")
        master.send_signal(signal.SIGINT)
        master.communicate(timeout=120)
    assert master.returncode != 0
    wait_until(lambda: states(workspace) == ["CANCELLED"], PATIENCE_S, "the job was cancelled")
    hold.unlink()
    workspace.snakemake(TARGET)
    assert states(workspace) == ["CANCELLED", "COMPLETED"]
    code, said = python(workspace, "scripts/setup/resume_run.py")
    assert code == 1 and "no run of this folder was cut off" in said
