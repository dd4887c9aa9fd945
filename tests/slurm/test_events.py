"""What clusters do to jobs, all in one run: each ends well by itself, with one attempt more."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import PATIENCE_S, Cluster, Job, wait_until
from tests.slurm.workspace import SlurmWorkspace

MEMORY_MB = 700
EAT = f"python -c 'import time; taken = bytearray({2 * MEMORY_MB} << 20); time.sleep(600)'"
# A job waits while the test says so by its number, and takes memory if it is told to.
ORDERS = f"while [ -e $HOME/hold.$SLURM_JOB_ID ]; do sleep 0.2; [ ! -e $HOME/eat.$SLURM_JOB_ID ] || {EAT}; done"
CRAG, CAL, DOCUMENTS = (f"results/tutorial/{name}" for name in ("crag_mm", "cal", "documents"))
CANCELLED, EATEN = f"{CRAG}/passages.jsonl", f"{CRAG}/records.jsonl"
LATE, BROKEN = f"{CAL}/records.jsonl", f"{DOCUMENTS}/documents.jsonl"
CONFIG = (
    "recipes=[crag_mm,cal,documents]",
    "resources={load_passages: {local: false, mem_mb: 600}, "
    # The attempts of this rule have a minute each: one that the machine is too slow for is no surprise.
    f"ingest_records: {{runtime: 1, mem_mb: {MEMORY_MB}, retries: 4}}, "
    # A node to itself, and no more memory the second time than the other node has.
    "read_documents: {mem_mb: 7900, max_mem_mb: 7900}}",
)


@contextmanager
def held(workspace: SlurmWorkspace, count: int) -> Iterator[None]:
    """Let the next jobs wait for orders; those after them, such as further attempts, do not."""
    workspace.set_up(f"|-\n      {ORDERS}")
    last = max((int(job.id) for job in workspace.cluster.jobs()), default=0)
    files = [hold(workspace.cluster, str(number)) for number in range(last + 1, last + 1 + count)]
    for path in files:
        path.touch()
    try:
        yield
    finally:
        for path in files:
            path.unlink(missing_ok=True)


def hold(cluster: Cluster, number: str) -> Path:
    return cluster.home / f"hold.{number}"


def finish(workspace: SlurmWorkspace, master: "subprocess.Popen[str]", *targets: str) -> str:
    """Wait until the run has ended well by itself; return what it printed."""
    printed, _ = master.communicate(timeout=1500)
    assert master.returncode == 0, printed[-4000:]
    assert all((workspace.root / target).exists() for target in targets)
    return printed


@pytest.fixture
def workspace(on_cluster: Callable[[], SlurmWorkspace]) -> Iterator[SlurmWorkspace]:
    one = on_cluster()
    one.configfiles = ()
    yield one
    one.cluster.mend()


def attempts(workspace: SlurmWorkspace) -> dict[str, list[Job]]:
    """Return SLURM's jobs by what they make, in order of submission."""
    names = {"load_passages": CANCELLED, "read_documents": BROKEN}
    found: dict[str, list[Job]] = {}
    for job in workspace.jobs():
        made = names.get(job.rule) or (EATEN if job.facts["Comment"].endswith("crag_mm") else LATE)
        found.setdefault(made, []).append(job)
    return found


def test_cancelled_broken_late_and_greedy_jobs_are_submitted_again(workspace: SlurmWorkspace) -> None:
    cluster, targets = workspace.cluster, (CANCELLED, EATEN, LATE, BROKEN)
    with held(workspace, len(targets)):
        master = workspace.start(*targets, config=CONFIG)
        try:
            wait_until(lambda: [job.state for job in workspace.jobs()] == ["RUNNING"] * 4, PATIENCE_S, "four jobs run")
            first = {made: jobs[0] for made, jobs in attempts(workspace).items()}
            nodes = {made: job.node for made, job in first.items()}
            assert nodes[BROKEN] not in {nodes[made] for made in targets if made != BROKEN}
            cluster.check("scancel", first[CANCELLED].id)
            (cluster.home / f"eat.{first[EATEN].id}").touch()
            cluster.break_node(nodes[BROKEN])
            printed = finish(workspace, master, *targets)
        finally:
            master.kill()
            master.wait()
    ended = {made: [job.state for job in jobs] for made, jobs in attempts(workspace).items()}
    assert ended[CANCELLED] == ["CANCELLED", "COMPLETED"]
    assert ended[BROKEN] == ["NODE_FAIL", "COMPLETED"]
    assert ended[LATE][0] == "TIMEOUT" and ended[LATE][-1] == "COMPLETED"
    assert ended[EATEN][0] in {"OUT_OF_MEMORY", "FAILED"} and ended[EATEN][-1] == "COMPLETED"
    again = {made: jobs[-1] for made, jobs in attempts(workspace).items()}
    assert again[BROKEN].node != nodes[BROKEN], "not on the node that failed"
    assert [job.facts["MinMemoryNode"] for job in (first[EATEN], attempts(workspace)[EATEN][1])] == [
        f"{MEMORY_MB}M",
        f"{2 * MEMORY_MB}M",
    ]
    assert "Exceeded job memory limit" in Path(first[EATEN].facts["StdErr"]).read_text()
    assert "node failure" in printed
    # By the scripts' own records, every output was published by one job.
    records = [record for run in workspace.runs() for record in workspace.records(run)]
    complete = [out["path"] for record in records if record["status"] == "complete" for out in record["outputs"]]
    assert len(complete) == len(set(complete)) and {*targets} <= {*complete}
