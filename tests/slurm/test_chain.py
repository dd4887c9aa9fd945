"""The chain at its smallest with `snakemake --profile slurm`: where each job ran, by SLURM's own records.

All of crag_mm, and of cal one model whose weights are all trained: each further training would show the same again.
"""

import json
from collections import Counter
from collections.abc import Callable

import pytest
import yaml

from tests.slurm.workspace import SITE, SlurmWorkspace
from tests.workspace import RESULTS

GPU_RULES = {"train_adapter", "train_whole_model", "predict_answers"}
# By config/config.yaml, and by the site file of the tests.
LOCAL_RULES = {"make_splits", "select_answers", "make_folds", "score_answers", "list_artifacts"}
LOCAL_RULES |= {
    rule for rule, asked in yaml.safe_load(SITE.read_text())["resources"].items() if asked.get("local") is True
}
WHOLE = "results/tutorial/cal/ollama/full/DA/parity.json"
RUNS = (("all", ("recipes=[crag_mm]",)), (WHOLE, ("recipes=[cal]",)))


@pytest.fixture
def workspace(on_cluster: Callable[[], SlurmWorkspace]) -> SlurmWorkspace:
    one = on_cluster()
    one.configfiles = ("tests/chain/mini.yaml", "tests/chain/mini_cal.yaml")
    return one


def test_the_chain_runs_and_every_job_where_it_belongs(workspace: SlurmWorkspace) -> None:
    made = sum((Counter(workspace.executed(target, config=config)) for target, config in RUNS), Counter[str]())
    jobs = workspace.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    # What the jobs' own records say ran, less what ran beside Snakemake, is what SLURM says it ran: nothing twice. The
    # rule that trains all weights of a model runs the script of the other.
    by_script = Counter(job.rule.replace("train_whole_model", "train_adapter") for job in jobs)
    assert by_script == {rule: n for rule, n in made.items() if rule not in LOCAL_RULES}
    assert {job.rule for job in jobs} >= {*GPU_RULES, "ingest_records", "label_relevance", "write_reasoning"}
    for job in jobs:
        on_gpu = job.rule in GPU_RULES
        assert (job.partition, job.gpus) == (("gpu", "gpu:a100:1") if on_gpu else ("cpu", "")), job.facts
        assert (job.node == "gpu1") == on_gpu, job.facts
    assert {job.facts["Features"] for job in jobs if job.rule.startswith("train")} == {"hbm80"}
    assert all(job.facts["TimeLimit"] == "00:20:00" and job.facts["MinMemoryNode"] == "1500M" for job in jobs)

    records = [record for run in workspace.runs() for record in workspace.records(run)]
    ran = {record["slurm_job"]: record for record in records if record["slurm_job"]}
    assert ran.keys() == {job.id for job in jobs}
    assert {record["gpus"] for record in ran.values() if record["rule"] in GPU_RULES} == {1}
    set_up = (workspace.cluster.home / "set_up.txt").read_text().splitlines()
    assert {line.removesuffix(" by the site") for line in set_up} >= ran.keys()

    for parity in (f"{RESULTS}/ollama/lora/fold0/parity.json", WHOLE):
        assert json.loads((workspace.root / parity).read_text())["verdict"] == "pass"
    for target, config in RUNS:
        assert "Nothing to be done" in workspace.snakemake(target, config=config)
    assert len(workspace.jobs()) == len(jobs)
