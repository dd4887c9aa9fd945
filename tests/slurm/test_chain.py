"""The whole mini chain with `snakemake --profile slurm all`: where each job ran, by SLURM's own records."""

import json
from collections import Counter
from collections.abc import Callable

import pytest

from tests.slurm.workspace import SlurmWorkspace
from tests.workspace import RESULTS

GPU_RULES = {"train_adapter", "predict_answers"}
# By config/config.yaml, and by the site file of the tests.
LOCAL_RULES = {"make_splits", "select_answers", "make_folds", "score_answers", "list_artifacts"}
LOCAL_RULES |= {"load_passages", "recall_passages", "rerank_passages", "judge_predictions"}


@pytest.fixture
def workspace(on_cluster: Callable[[], SlurmWorkspace]) -> SlurmWorkspace:
    return on_cluster()


def test_the_chain_runs_and_every_job_where_it_belongs(workspace: SlurmWorkspace) -> None:
    made = workspace.executed("all")
    jobs = workspace.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    # What the jobs' own records say ran, less what ran beside Snakemake, is what SLURM says it ran: nothing twice.
    assert Counter(job.rule for job in jobs) == {rule: n for rule, n in made.items() if rule not in LOCAL_RULES}
    assert made.keys() > LOCAL_RULES | GPU_RULES
    for job in jobs:
        on_gpu = job.rule in GPU_RULES
        assert (job.partition, job.gpus) == (("gpu", "gpu:a100:1") if on_gpu else ("cpu", "")), job.facts
        assert (job.node == "gpu1") == on_gpu, job.facts
    assert {job.facts["Features"] for job in jobs if job.rule == "train_adapter"} == {"hbm80"}
    assert all(job.facts["TimeLimit"] == "00:10:00" and job.facts["MinMemoryNode"] == "1500M" for job in jobs)

    records = [record for run in workspace.runs() for record in workspace.records(run)]
    ran = {record["slurm_job"]: record["rule"] for record in records if record["slurm_job"]}
    assert ran == {job.id: job.rule for job in jobs}
    set_up = (workspace.cluster.home / "set_up.txt").read_text().splitlines()
    assert {line.removesuffix(" by the site") for line in set_up} >= ran.keys()

    assert json.loads((workspace.root / RESULTS / "ollama/lora/fold0/parity.json").read_text())["verdict"] == "pass"
    assert "Nothing to be done" in workspace.snakemake("all")
    assert len(workspace.jobs()) == len(jobs)
