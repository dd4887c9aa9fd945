"""Both tutorials at their smallest with `snakemake --profile slurm all`: where each job ran, by SLURM's own records."""

import json
from collections import Counter
from collections.abc import Callable

import pytest
import yaml

from tests.slurm.workspace import SITE, SlurmWorkspace

GPU_RULES = {"train_adapter", "train_whole_model", "predict_answers"}
# By config/config.yaml, and by the site file of the tests.
LOCAL_RULES = {"make_splits", "select_answers", "make_folds", "score_answers", "list_artifacts"}
LOCAL_RULES |= {
    rule for rule, asked in yaml.safe_load(SITE.read_text())["resources"].items() if asked.get("local") is True
}
CONFIG = ("recipes=[crag_mm,cal]",)
MODELS = {
    "crag_mm": [("lora", "fold0")],
    "cal": [(model, fold) for model in ("qlora", "full") for fold in ("DA", "DB")],
}


@pytest.fixture
def workspace(on_cluster: Callable[[], SlurmWorkspace]) -> SlurmWorkspace:
    one = on_cluster()
    one.configfiles = ("tests/chain/mini.yaml", "tests/chain/mini_cal.yaml")
    return one


def test_the_chain_runs_and_every_job_where_it_belongs(workspace: SlurmWorkspace) -> None:
    made = workspace.executed("all", config=CONFIG)
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

    for recipe, models in MODELS.items():
        for model, fold in models:
            parity = workspace.root / f"results/tutorial/{recipe}/ollama/{model}/{fold}/parity.json"
            assert json.loads(parity.read_text())["verdict"] == "pass"
    assert "Nothing to be done" in workspace.snakemake("all", config=CONFIG)
    assert len(workspace.jobs()) == len(jobs)
