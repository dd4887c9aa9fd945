"""A run whose master is killed twice, at calls and at training: the bytes of an undisturbed run, nothing made twice."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetrail.rows.records import read_rows, sha256_file
from tests.chain.slow_endpoint import SlowEndpoint
from tests.slurm.cluster import PATIENCE_S, Job, wait_until
from tests.slurm.test_nodes import LOCAL, SITE
from tests.slurm.test_resume import python
from tests.slurm.workspace import SlurmWorkspace
from tests.workspace import RESULTS, Workspace

pytestmark = pytest.mark.long
TARGET = f"{RESULTS}/models/lora/fold0/final_adapter/manifest.json"
STATE = "results/tutorial/state/crag_mm.lora.fold0"
TRAINING = "train: {models: {lora: {max_steps: 24}}, save_steps: 2}"
ANSWERED = 20
SUBMITTED = {"label_relevance", "train_adapter"}


class HaltingEndpoint(SlowEndpoint):
    """Answers the first questions and lets those after them wait, until it is told to let all go."""

    def enter(self, body: dict[str, Any]) -> None:
        """Take in a request; keep it waiting if it is not one of the first."""
        if self.asked > ANSWERED:
            super().enter(body)
        else:
            self.waiting.append(body)


@contextmanager
def serving(endpoint: SlowEndpoint) -> Iterator[SlowEndpoint]:
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    try:
        yield endpoint
    finally:
        endpoint.release.set()
        endpoint.shutdown()
        endpoint.server_close()


def config(endpoint: SlowEndpoint) -> tuple[str, ...]:
    llm, label = endpoint.config()
    return llm, label.removesuffix("}}") + f", {TRAINING}}}}}"


def digests(workspace: Workspace) -> Mapping[str, str]:
    """Return the hashes of all results, without what tells of time and place: meta files, and logs of trainings."""
    root = workspace.root / RESULTS
    left_out = (".meta.json", "training_log.jsonl")
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.endswith(left_out)]
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in files}


def test_two_kills_cost_the_calls_in_flight_and_no_step(
    fresh: Workspace, tmp_path: Path, on_cluster: Callable[[], SlurmWorkspace]
) -> None:
    undisturbed = fresh.copy(tmp_path / "undisturbed")
    with serving(SlowEndpoint()) as endpoint:
        endpoint.release.set()
        undisturbed.snakemake(TARGET, config=config(endpoint))
        calls = endpoint.asked
    workspace = on_cluster()
    local = "".join(f"  {rule}: {{local: true}}\n" for rule in LOCAL if rule not in SUBMITTED)
    (workspace.root / "config/site.yaml").write_text(SITE + local)
    with serving(HaltingEndpoint()) as endpoint:
        master = workspace.start(TARGET, config=config(endpoint))
        try:
            assert endpoint.wait_for(2, PATIENCE_S), "calls are in flight"
            kill(master.pid)
        finally:
            master.kill()
            master.communicate()
        (labelling,) = jobs_of(workspace, "label_relevance")
        in_flight = len(endpoint.waiting)
        workspace.cluster.check("scancel", labelling.id)
        cancelled = partial(ended, workspace, "label_relevance")
        wait_until(cancelled, PATIENCE_S, "the orphan was cancelled")
        endpoint.release.set()
        resuming = threading.Thread(target=python, args=(workspace, "scripts/setup/resume_run.py"), daemon=True)
        resuming.start()
        steps = workspace.root / STATE
        wait_until(lambda: len(list(steps.glob("**/checkpoint-*"))) > 1, PATIENCE_S, "the training has checkpoints")
        *_, training = jobs_of(workspace, "train_adapter")
        leader = json.loads(max(workspace.root.glob("logs/tutorial/runs/*/master.json")).read_text())
        kill(leader["pid"])
        resuming.join(60)
        workspace.cluster.check("scancel", "--signal=KILL", training.id)
        wait_until(partial(ended, workspace, "train_adapter"), PATIENCE_S, "the orphan ended")
        code, printed = python(workspace, "scripts/setup/resume_run.py")
        assert code == 0, printed[-3000:]
        asked = endpoint.asked
    assert digests(workspace) == digests(undisturbed)
    assert calls <= asked <= calls + in_flight
    state = next(path for path in steps.rglob("attempts.jsonl"))
    begun = [row["from_step"] for row in read_rows(state) if "from_step" in row]
    assert begun[0] == 0 and begun[-1] > 0, "it went on from a checkpoint"
    records = [record for run in workspace.runs() for record in workspace.records(run)]
    complete = Counter(record["rule"] for record in records if record["status"] == "complete")
    assert set(complete.values()) == {1}, "every output is written by exactly one job"


def jobs_of(workspace: SlurmWorkspace, rule: str) -> list[Job]:
    """Return SLURM's records of a rule's jobs, the oldest first."""
    return [job for job in workspace.jobs() if job.rule == rule]


def ended(workspace: SlurmWorkspace, rule: str) -> bool:
    """Say whether no job of a rule runs or waits."""
    return {job.state for job in jobs_of(workspace, rule)}.isdisjoint({"RUNNING", "PENDING", "COMPLETING"})


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
