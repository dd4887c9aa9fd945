"""Rules that start a model's server: the GPUs that they ask for, what reruns them, what is refused before any job."""

import json
import re
from pathlib import Path

import pytest

from tests.workspace import Workspace

JUDGE = "overrides={crag_mm: {synthesize: {judge: {endpoint: own, model: ./judge}}}}"


def endpoint(serve: str) -> str:
    return f"llm={{endpoints: {{own: {{kind: vllm, serve: {{{serve}}}}}}}}}"


@pytest.fixture(scope="module")
def project(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = fresh.copy(tmp_path_factory.mktemp("own") / "project")
    write_model(workspace.root / "judge", "Qwen3ForCausalLM")
    return workspace


def write_model(folder: Path, architecture: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], "num_attention_heads": 8}))


def judge_job(project: Workspace, *config: str) -> str:
    return judge_job_of(project.dry_run("all", config=config))


def judge_job_of(printed: str) -> str:
    found = re.search(r"^rule judge_answers:\n(?:    .*\n)+", printed, re.M)
    assert found, printed
    return found[0]


def gpus(job: str) -> int:
    found = re.search(r"\bgpu=(\d+)", job)
    return int(found[1]) if found else 0


def test_a_rule_asks_for_the_gpus_of_the_server_that_it_starts(project: Workspace) -> None:
    assert gpus(judge_job(project)) == 0
    all_jobs = project.dry_run("all", config=(endpoint("tensor_parallel: 2"), JUDGE))
    assert gpus(judge_job_of(all_jobs)) == 2
    assert len(re.findall(r"\bgpu=2", all_jobs)) == 1, "no other rule asks for them"
    assert gpus(judge_job(project, endpoint("device: cpu"), JUDGE)) == 0
    assert gpus(judge_job(project, endpoint(""), JUDGE, "resources={judge_answers: {gpus: 3}}")) == 3


def test_a_model_of_this_workflow_is_made_first(project: Workspace) -> None:
    folder = "results/tutorial/elsewhere/model"
    asked = f"overrides={{crag_mm: {{synthesize: {{judge: {{endpoint: own, model: {folder}}}}}}}}}"
    printed = project.snakemake("all", fails=True, config=(endpoint(""), asked), options=("--dry-run",))
    assert "MissingInputException" in printed
    assert f"{folder}/manifest.json" in printed


def test_an_architecture_that_vllm_lacks_is_refused_before_any_job(project: Workspace) -> None:
    write_model(project.root / "judge", "MllamaForConditionalGeneration")
    try:
        printed = project.snakemake("all", fails=True, config=(endpoint(""), JUDGE), options=("--dry-run",))
    finally:
        write_model(project.root / "judge", "Qwen3ForCausalLM")
    assert "does not serve MllamaForConditionalGeneration" in printed
    assert "synthesize.judge" in printed
    assert "kind `transformers`" in printed


def test_gpus_that_cannot_share_a_model_are_refused_before_any_job(project: Workspace) -> None:
    printed = project.snakemake(
        "all", fails=True, config=(endpoint("tensor_parallel: 3"), JUDGE), options=("--dry-run",)
    )
    assert "cannot share 8 attention heads among 3 GPUs" in printed
    assert "synthesize.judge" in printed


def test_a_missing_vllm_is_told_before_a_job_waits_for_a_gpu(project: Workspace) -> None:
    warning = "synthesize.judge: endpoint of kind vllm: there is no Python at"
    assert warning in project.dry_run("all", config=(endpoint("python: /nowhere/python"), JUDGE))
    assert warning not in project.dry_run("all", config=(endpoint("python: /bin/sh"), JUDGE))
