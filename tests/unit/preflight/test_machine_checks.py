"""What is refused or said before a run whose jobs ask for machines on which their models do not fit."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetrail.config.load import LoadedConfig, load_config
from finetrail.preflight import base_checks, endpoint_checks
from finetrail.preflight.finding import Finding
from finetrail.preflight.machine_checks import check_machines, written_bytes
from finetrail.preflight.requested_resources import Asked, asked_by
from finetrail.workflow.planning_warnings import planning_warnings
from setup import plan_calls, preflight
from tests.workspace import ROOT

DRY_RUN = """\
rule train_adapter:
    input: a
    output: b
    wildcards: recipe=crag_mm, model=lora_shuffled, fold=fold0
    threads: 8
    resources: mem_mb=4000, runtime=90, gpu=2
Shell command: python scripts/train/train_adapter.py --recipe crag_mm 2> log 1>&2

rule judge_answers:
    input: results/crag_mm/shards/judged/1-of-2.jsonl
    output: c
    wildcards: recipe=crag_mm
    resources: mem_mb=2000
Shell command: python scripts/synthesize/judge_answers.py
"""
PLENTY = (("mem_mb", "900000"), ("gpu", "4"))


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read scripts as from the project's folder, with a token of the hub and room on the disk."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_TOKEN", "here")
    roomy = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 10**6, 10**6, 10**6, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda _: roomy)


def run_of(recipe: str, **config: Any) -> LoadedConfig:
    return load_config(ROOT, config={"recipes": [recipe], "scale": "full", **config})


def training(recipe: str, model: str, *options: tuple[str, str]) -> Asked:
    return Asked("train_adapter", 4, options, recipe, model, "fold0", "scripts/train/train_adapter.py")


def found(run: LoadedConfig, *jobs: Asked, submits: bool = True) -> list[Finding]:
    return list(check_machines(run, jobs, submits=submits))


def test_jobs_are_read_with_their_recipe_model_and_script() -> None:
    train, judge = asked_by(DRY_RUN)
    assert (train.recipe, train.model, train.script) == ("crag_mm", "lora_shuffled", "scripts/train/train_adapter.py")
    assert train.fold == "fold0" and not train.merges and judge.merges and judge.model == ""


def test_more_processes_than_gpus_are_refused_with_the_key() -> None:
    (one,) = found(run_of("crag_mm"), training("crag_mm", "lora", ("mem_mb", "900000"), ("gpu", "2")))
    assert one.level == "error" and one.where == "resources.train_adapter.gpus"
    assert "4 processes" in one.what and "2 GPUs" in one.what
    assert "set it to 4" in one.fix and "recipes.crag_mm.train.models.lora.launch.processes" in one.fix
    assert not found(run_of("crag_mm"), training("crag_mm", "lora", *PLENTY))


def test_gpus_that_no_process_uses_are_said() -> None:
    (one,) = found(run_of("documents"), training("documents", "lora", *PLENTY))
    assert one.level == "warning" and "uses 1 of the 4 GPUs" in one.what


def test_a_large_base_without_a_gpu_is_said() -> None:
    (one,) = found(run_of("documents"), training("documents", "lora", ("mem_mb", "900000")))
    assert one.level == "warning" and "14.5 GB without a GPU" in one.what and "set it to 1" in one.fix


def test_less_memory_than_the_weights_is_refused_where_a_cluster_would_end_the_job() -> None:
    little = training("documents", "lora", ("mem_mb", "2000"), ("gpu", "1"))
    (one,) = found(run_of("documents"), little)
    assert one.level == "error" and one.where == "resources.train_adapter.mem_mb"
    assert "given 2000 MB, and the weights alone are 14496 MB" in one.what and "set it to 23000" in one.fix
    assert [one.level for one in found(run_of("documents"), little, submits=False)] == ["warning"]
    merging = Asked(
        "merge_adapter", 8, (("mem_mb", "20000"),), "documents", "lora", script="scripts/export/merge_adapter.py"
    )
    assert "28992 MB" in found(run_of("documents"), merging)[0].what


def test_a_training_that_fits_no_gpu_of_the_site_is_refused() -> None:
    one_gpu = training("documents", "lora", ("mem_mb", "900000"), ("gpu", "1"))
    (one,) = found(run_of("documents", site={"gpu_gb": 16.0}), one_gpu)
    assert one.level == "error" and one.where == "site.gpu_gb" and "method qlora" in one.fix
    assert not found(run_of("documents", site={"gpu_gb": 80.0}), one_gpu)


def test_a_tiny_base_is_never_the_matter() -> None:
    tiny = load_config(ROOT, config={"recipes": ["documents"], "scale": "tutorial"})
    assert not found(tiny, training("documents", "lora", ("mem_mb", "1")))


def test_a_disk_without_room_for_checkpoints_merge_and_export_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("documents")
    scripts = {
        "fetch_model": "train", "train_adapter": "train", "merge_adapter": "export", "convert_gguf": "export",
        "check_parity": "export",
    }  # fmt: skip
    jobs = [
        Asked(name, 1, PLENTY[:1], "documents", "lora", script=f"scripts/{of}/{name}.py")
        for name, of in scripts.items()
    ]
    sizes = {job.rule: written_bytes(run, job) for job in jobs}
    kept = sum(stays for stays, _ in sizes.values())
    assert kept == pytest.approx(14.5e9 + 29e9 + 7.7e9 + 0.042e9 * (3 * 12 + 4), rel=0.02)
    assert sizes["merge_adapter"][0] == 4 * 7_248_023_552 and sizes["check_parity"] == (0.0, 4.0 * 7_248_023_552)
    full = os.statvfs_result((4096, 4096, 10**9, 10**7, 10**7, 10**6, 10**6, 10**6, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda _: full)
    one = next(one for one in found(run, *jobs) if one.where == "results_dir")
    assert one.level == "error" and "has 41 GB left" in one.what and "merge_adapter of documents, 29 GB" in one.what


@pytest.mark.parametrize(("rank", "said"), [(16, None), (32, "no training could go on"), (64, "none would be made")])
def test_an_artifact_above_its_bound_is_said_before_the_training(rank: int, said: str | None) -> None:
    changes = {"train": {"wandb": {"project": "p"}, "models": {"lora": {"rank": rank}}}}
    one_gpu = training("documents", "lora", ("mem_mb", "900000"), ("gpu", "1"))
    about = found(run_of("documents", overrides={"documents": changes}), one_gpu)
    assert [one.where for one in about] == ["recipes.documents.train.models.lora.rank"] * bool(said)
    assert said is None or said in about[0].what


def test_a_gated_model_without_a_token_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = Asked("fetch_model", 1, PLENTY, "crag_mm", script="scripts/train/fetch_model.py")
    assert not found(run_of("crag_mm"), fetch)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (one,) = found(run_of("crag_mm"), fetch, fetch)
    assert one.where == "recipes.crag_mm.base_model.hub" and "HF_TOKEN" in one.what
    (tmp_path / "token").write_text("here")
    assert not found(run_of("crag_mm"), fetch)
    elsewhere = {"cache": str(tmp_path / "cache")}
    assert found(run_of("crag_mm", site=elsewhere), fetch), "jobs look for it below site.cache"
    assert not found(run_of("cal"), Asked("fetch_model", 1, PLENTY, "cal", script="scripts/train/fetch_model.py"))


def planned(run: LoadedConfig, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """Let a program plan the job of DRY_RUN, in place of Snakemake."""

    def dry_run(arguments: Any, folder: Path) -> tuple[int, str]:
        (folder / "run_config.yaml").write_text(yaml.safe_dump(run.merged()))
        return 0, DRY_RUN.partition("rule judge")[0]

    monkeypatch.setattr(module, "dry_run", dry_run)


def test_a_plan_says_so_and_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(run_of("crag_mm"), monkeypatch, plan_calls)
    assert plan_calls.main(["--cores", "1"]) == 1
    printed = capsys.readouterr().out
    assert "error: resources.train_adapter.gpus: train_adapter of crag_mm starts 4" in printed
    assert "by their time limits at most 3 of 1 jobs that are not known" in printed, "two GPUs for 90 minutes"
    planned(load_config(ROOT, config={"recipes": ["crag_mm"], "scale": "tutorial"}), monkeypatch, plan_calls)
    assert plan_calls.main(["--cores", "1"]) == 0


def test_preflight_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    planned(run_of("crag_mm"), monkeypatch, preflight)
    monkeypatch.setattr(endpoint_checks, "check_endpoints", lambda run: [])
    monkeypatch.setattr(base_checks, "check_hub_bases", lambda run: [])
    found, jobs = preflight.check(["--cores", "1"])
    assert jobs == 1
    assert {"resources.train_adapter.gpus", "resources.train_adapter.mem_mb"} <= {one.where for one in found}


def test_a_base_that_is_not_known_is_said_before_a_run(tmp_path: Path) -> None:
    base = {"hub": "someone/Model-1.5B", "revision": "a" * 40}
    unknown = run_of("documents", overrides={"documents": {"base_model": base}}, results_dir=str(tmp_path))
    (line,) = planning_warnings(unknown)
    assert line.startswith("documents: base_model: nothing is known") and "1.5 billion" in line
    assert not list(planning_warnings(run_of("documents")))
