"""What every rule gets without writing it, read from the workflow as Snakemake parsed it."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.recipe import Resources
from finetrail.digests.code_digest import result_files
from finetrail.workflow.declared import read_declared
from tests.wiring.test_architecture import rules as written_rules
from tests.wiring.test_environments import SCRIPTS, foreign_imports
from tests.workspace import Workspace

pytestmark = pytest.mark.chain
# Where a job shows what stands under a key of `resources`; `local` and `llm` are looked at apart.
SHOWN_AS = {
    "mem_mb": ("mem_mb", 3001),
    "max_mem_mb": ("later", 7003),
    "runtime": ("runtime", 17),
    "threads": ("_cores", 3),
    "gpus": ("gpu", 2),
    "partition": ("slurm_partition", "night"),
    "gpu_model": ("gpu_model", "a100"),
    "constraint": ("constraint", "ib"),
    "account": ("slurm_account", "ours"),
    "qos": ("qos", "long"),
    "retries": ("retries", 4),
}
APART = {"local", "llm"}
EVERYTHING = {key: value for key, (_, value) in SHOWN_AS.items()}
PAID = {"llm": {"run_on": "submit", "endpoints": {"paid": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}}}}
# Libraries that decide no result: they carry calls and downloads, or what they make is part of a call's key.
CARRIERS = {"yaml", "jinja2", "jsonschema", "openai", "httpx2", "aiohttp", "huggingface_hub"}
# Steps that use another library and carry no digest of its version; and why.
UNHELD = {
    "fetch_model": "a new version would fetch gigabytes again; the manifest lists the bytes that came",
    "format_qa": "the template of a tokenizer has a rule of its own, which is held to its environment",
}


@cache
def parsed(folder: Path, config: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("parse_rules.py")), config],
        cwd=folder, env=Workspace(folder).environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def steps(project: Workspace, **config: Any) -> dict[str, dict[str, Any]]:
    chosen = {"scale": "tutorial", "recipes": ["crag_mm"], **config}
    found: dict[str, dict[str, Any]] = parsed(project.root, json.dumps(chosen))["steps"]
    return found


def without_constraints(path: str) -> str:
    return re.sub(r"\{(\w+),.*?\}(?=[./-]|$)", r"{\1}", path)


def test_every_rule_has_its_log_benchmark_environment_and_code(fresh: Workspace) -> None:
    found = steps(fresh)
    assert len(found) > 85
    for name, step in found.items():
        base = name.removesuffix("_shard")
        (log,) = map(without_constraints, step["log"])
        assert re.fullmatch(rf"logs/tutorial/\{{recipe\}}/{base}(\.[^/]+)?\.log", log), name
        assert without_constraints(step["benchmark"]) == log.replace("logs/", "benchmarks/").replace(
            ".log", ".jsonl"
        ), name
        assert step["conda"], name
        assert {"script", "recipe", "paths", "code"} <= {*step["params"]}, name
    (log,) = map(without_constraints, found["label_relevance_shard"]["log"])
    assert log == "logs/tutorial/{recipe}/label_relevance.{shard}-of-{shards}.log"


def test_a_rule_is_held_to_the_environment_that_it_runs_in(fresh: Workspace) -> None:
    for name, step in steps(fresh).items():
        assert step["environment"] in (None, step["conda"]), name
        assert ("environment" in step["params"]) == (step["environment"] is not None), name


def test_what_depends_on_pinned_versions_says_so() -> None:
    """A step that uses a library of others is made again when the pins of its environment change."""
    unheld: dict[str, set[str]] = {}
    for path, name, _ in written_rules():
        script = SCRIPTS / path.stem / f"{name}.py"
        declared = read_declared(script)
        # What is asked is stored under its own key, whatever version asks.
        files = [] if declared.asks or declared.environment else result_files(script, SCRIPTS)
        used = {module for file in files for module in foreign_imports(file)} - CARRIERS
        unheld |= {name: used} if used else {}
    assert unheld.keys() <= UNHELD.keys(), "declare ENVIRONMENT in these scripts, or say here why not"


def test_a_rule_reads_what_the_model_that_it_asks_needs(fresh: Workspace) -> None:
    for name, step in steps(fresh).items():
        assert step["served"] == step["asks"], name
        assert {"prompt", "teacher", "shares", "shard"} <= {*step["params"]} or not step["asks"], name


@pytest.mark.parametrize("recipe", ["crag_mm", "weatherqa"])
def test_every_resource_of_every_rule_is_in_its_job(fresh: Workspace, recipe: str) -> None:
    assert {*SHOWN_AS, *APART} == {*Resources.model_fields}
    names = {name.removesuffix("_shard") for name in steps(fresh)}
    found = steps(fresh, recipes=[recipe], resources=dict.fromkeys(sorted(names), EVERYTHING))
    for name, step in found.items():
        shown = step["resources"] | {"later": step["mem_mb_later"], "retries": step["retries"]}
        assert {key: shown.get(at) for key, (at, _) in SHOWN_AS.items()} == EVERYTHING, name


def test_a_rule_without_an_entry_of_its_own_has_that_of_the_rule_whose_script_it_runs(fresh: Workspace) -> None:
    entries = {"recall_passages": {"mem_mb": 64000}, "train_adapter": {"retries": 9}, "label_relevance": {"gpus": 1}}
    found = steps(fresh, resources=entries)
    assert found["recall_by_meaning"]["resources"]["mem_mb"] == 64000
    assert found["train_whole_model"]["retries"] == 9
    assert "gpu" not in found["label_relevance_second"]["resources"], "another model may be served elsewhere"
    assert found["label_relevance_shard"]["resources"]["gpu"] == 1
    own = steps(fresh, resources=entries | {"recall_by_meaning": {"mem_mb": 8000}})
    assert own["recall_by_meaning"]["resources"]["mem_mb"] == 8000


def test_local_rules_and_shares_are_those_of_the_configuration(fresh: Workspace) -> None:
    asked = {"endpoint": "paid", "model": "m"}
    config = {
        "scale": "tutorial",
        "recipes": ["crag_mm"],
        "overrides": {"crag_mm": {"label": {"model": asked}}},
        "resources": {"label_relevance": {"llm": 3}, "predict_answers": {"local": True}},
        **PAID,
    }
    found = parsed(fresh.root, json.dumps(config))
    assert found["steps"]["label_relevance"]["resources"]["llm"] == 3
    assert found["steps"]["label_gold"]["resources"]["llm"] == 1
    assert {"predict_answers", "label_relevance", "label_relevance_shard", "fetch_model"} <= {*found["local"]}
    assert not {"train_adapter", "judge_answers"} & {*found["local"]}


def test_what_the_command_line_says_stands_above_the_configuration(fresh: Workspace) -> None:
    options = ("--set-resources", "ingest_records:mem_mb=999", "--set-threads", "ingest_records=2", "--cores", "4")
    printed = fresh.dry_run("results/tutorial/crag_mm/records.jsonl", options=options)
    assert "mem_mb=999" in printed and "threads: 2" in printed


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [("second=second_labels", "secnd=second_labels", "secnd"), ("report=", "reprt=", "rows, reprt")],
)
def test_a_file_that_the_script_would_not_be_told_of_is_refused(
    fresh: Workspace, tmp_path: Path, old: str, new: str, missing: str
) -> None:
    project = fresh.copy(tmp_path / "project")
    project.edit("rules/label.smk", old, new)
    printed = project.snakemake("data", fails=True, options=("--dry-run",))
    assert f"filter_passages: scripts/label/filter_passages.py has no argument for {missing}" in printed
