"""A training on two nodes: SLURM starts one task on each, they meet, and the weights are those of one node with two."""

import json
from collections.abc import Callable

import pytest

from tests.slurm.workspace import SlurmWorkspace
from tests.workspace import RESULTS

pytestmark = pytest.mark.long
MODEL = f"{RESULTS}/models/lora/fold0"
# Nearly all but the training is done beside Snakemake.
LOCAL = ("ingest_records", "make_queries", "label_relevance", "generate_answers", "judge_answers", "make_tiny_base")
SITE = """\
site: {cpu_partition: cpu, gpu_partition: gpu}
resources:
  default: {mem_mb: 1500, runtime: 10}
  load_passages: {local: true}
  recall_passages: {local: true}
  rerank_passages: {local: true}
  train_adapter: {mem_mb: 4000}
"""


def launched(nodes: int, processes: int) -> tuple[str]:
    launch = f"{{nodes: {nodes}, processes: {processes}, deepspeed_stage: null}}"
    return (f"overrides={{crag_mm: {{train: {{models: {{lora: {{launch: {launch}}}}}}}}}}}",)


def test_two_nodes_train_as_one_with_two_processes(on_cluster: Callable[[], SlurmWorkspace]) -> None:
    workspace = on_cluster()
    site = SITE + "".join(f"  {rule}: {{local: true}}\n" for rule in LOCAL)
    (workspace.root / "config/site.yaml").write_text(site)
    target = f"{MODEL}/final_adapter/manifest.json"
    workspace.snakemake(target, config=launched(2, 1))
    (job,) = (job for job in workspace.jobs() if job.rule == "train_adapter")
    assert (job.state, job.facts["NumNodes"]) == ("COMPLETED", "2")
    assert job.node == "cpu[1-2]" and job.facts["NumTasks"] == "2"
    steps = workspace.cluster.check("scontrol", "--details", "show", "job", job.id)
    log = (workspace.root / "logs/tutorial/crag_mm/train_adapter.lora.fold0.log").read_text()
    assert "srun --overlap --nodes=2 --ntasks=2" in log, log[-3000:] + steps
    over_nodes = (workspace.root / MODEL / "final_adapter/adapter_model.safetensors").read_bytes()
    losses = [json.loads(line) for line in (workspace.root / MODEL / "training_log.jsonl").read_text().splitlines()]
    assert any("loss" in line for line in losses)
    workspace.snakemake(target, config=launched(1, 2))
    assert workspace.jobs()[-1].facts["NumNodes"] == "1"
    assert (workspace.root / MODEL / "final_adapter/adapter_model.safetensors").read_bytes() == over_nodes
