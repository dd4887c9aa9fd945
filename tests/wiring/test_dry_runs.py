"""Every configuration that is there leads to a graph of jobs; generated files are what their sources say."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetrail.config.load import load_config
from finetrail.preflight.machine_checks import needed
from finetrail.preflight.requested_resources import asked_by
from finetrail.workflow.declared import read_declared
from finetrail.workflow.job_sizes import Size
from finetrail.workflow.models_asked import model_asked
from tests.workspace import ROOT, Workspace

RECIPES = sorted(path.stem for path in (ROOT / "config" / "recipes").glob("*.yaml"))
TUTORIALS = sorted(path.stem for path in (ROOT / "config" / "tutorial").glob("*.yaml"))
DATA = ["ingest_records", "make_splits", "load_passages", "make_queries", "rerank_passages"]
DATA += ["index_words", "recall_passages"]
DATA += ["label_listwise", "label_relevance", "filter_passages"]
DATA += ["generate_answers", "judge_answers", "select_answers", "make_folds"]
DATA += ["pair_gold", "label_gold", "report_calibration", "plant_defects", "judge_planted", "report_judging"]
DATA_JOBS = dict.fromkeys(DATA, 1) | {"plot_calibration": 2}
REPORTING = {"gold", "report", "plant", "planted"}  # what the folds do not wait for
CONTROLS = {"train_adapter": 2, "predict_answers": 3, "judge_predictions": 4}
STUDENT = {"predict_as_deployed": 3, "write_student_tasks": 1}
MODELS = [
    "plot_risk_coverage",
    "plot_training",
    "predict_trivial",
    "score_answers",
    "merge_adapter",
    "describe_fold",
    "list_artifacts",
]
FINISHED = """\
description: Finished examples
source: {format: responses, files: [finished.jsonl], licence: MIT}
splits: {method: shuffle, train: 1.0, dev: 0.0, test: 0.0, group_by: [prompt]}
folds: {names: [DA, DB], layout: prompt}
base_model: {tiny: llama}
train: {models: {lora: {method: lora, learning_rate: 1e-4, epochs: 1}}}
evaluate: {resamples: 100}
"""
# Shows the script of each job; the tests that plan all of a full recipe share one dry run.
COMMANDS = ("--printshellcmds", "--cores", "99")
ON_GPU = {
    "train_adapter", "train_whole_model", "train_image_prefix", "train_image_encoder", "train_reranker",
    "predict_answers", "predict_as_deployed", "predict_texts", "measure_latency", "choose_merge", "index_vectors",
    "recall_by_meaning", "score_candidates",
}  # fmt: skip
VARIANT = "extends: {recipe}\nlimit: 50\n"


@dataclass
class Planner(Workspace):
    """A workspace that remembers its dry runs: several tests look at the same graph."""

    planned_before: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def dry_run(self, *arguments: str, **options: Any) -> str:
        asked = (arguments, *sorted(options.items()))
        if asked not in self.planned_before:
            self.planned_before[asked] = super().dry_run(*arguments, **options)
        return self.planned_before[asked]


@pytest.fixture(scope="module")
def project(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy in which the original files of every recipe are there, if only as placeholders."""
    root = fresh.copy(tmp_path_factory.mktemp("wiring") / "project").root
    workspace = Planner(root, config=[], configfiles=())
    for name in RECIPES:
        path = workspace.root / "config" / "recipes" / f"{name}.yaml"
        source = yaml.safe_load(path.read_text()).get("source", {})
        for file in (*source.get("files", ()), *source.get("held_out", ()), *source.get("corpus", ())):
            place = workspace.root / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        if images := source.get("images"):
            (workspace.root / images).mkdir(parents=True)
        (path.parent / f"{name}_variant.yaml").write_text(VARIANT.format(recipe=name))
    return workspace


def choice(recipe: str, scale: str) -> tuple[str, ...]:
    return f"recipes=[{recipe}]", f"scale={scale}"


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def places(printed: str) -> set[str]:
    """Return every path that the jobs of a dry run would write: outputs, logs and benchmarks."""
    lines = re.findall(r"^    (?:output|log|benchmark): (.*)$", printed, re.M)
    return {path for line in lines for path in line.split(", ")}


def variants(names: list[str]) -> list[str]:
    return [f"{name}_variant" for name in names]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_planned_at_full_scale(project: Workspace, recipe: str) -> None:
    made = places(project.dry_run("all", config=choice(recipe, "full"), options=COMMANDS))
    assert f"results/{recipe}/audit/files.json" in made
    assert {path for path in made if path.split("/")[1] != recipe} == set()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_job_of_a_full_recipe_asks_for_what_its_model_needs(project: Workspace, recipe: str) -> None:
    jobs = asked_by(project.dry_run("all", config=choice(recipe, "full"), options=COMMANDS))
    run = load_config(project.root, config={"recipes": [recipe], "scale": "full"})
    least = run.resources_for("default")
    sized = {job: size for job in jobs if (size := needed(run, job)) is not None}
    assert {job.rule for job in sized} >= {"fetch_model"} and len(sized) >= 6
    for job in (job for job in jobs if job.recipe):
        size = sized.get(job, Size())
        asked = (job.gpus_a_node, job.number("mem_mb"), job.number("runtime"))
        entry = (size.gpus, max(size.mem_mb, least["mem_mb"]), max(size.minutes, least["runtime"]))
        assert asked == entry, job.rule
        asks = read_declared(ROOT / job.script).asks
        served = model_asked(run, recipe, asks) if asks and not job.merges else None
        assert bool(job.gpus_a_node) == (job.rule in ON_GPU or bool(served and served[1].gpus)), job.rule


@pytest.mark.parametrize("recipe", TUTORIALS)
def test_every_tutorial_can_be_planned(project: Workspace, recipe: str) -> None:
    made = places(project.dry_run("all", config=choice(recipe, "tutorial")))
    assert f"results/tutorial/{recipe}/audit/files.json" in made
    assert {path for path in made if path.split("/")[1:3] != ["tutorial", recipe]} == set()


@pytest.mark.parametrize("page", ["README.md", "docs/recipes/documents.md"])
def test_every_target_beside_the_originals_commands_can_be_planned(project: Workspace, page: str) -> None:
    named = set(
        re.findall(r"results/documents/[\w./]+\.(?:jsonl?\b|txt)|results/documents/[\w./]+/Modelfile", text(page))
    )
    assert {Path(name).name for name in named} > {"chunks.jsonl", "qa.jsonl", "alpaca_t7.5.jsonl", "Modelfile"}
    assert named <= places(project.dry_run(*sorted(named), config=choice("documents", "full")))


def test_one_half_of_cal_is_a_target_that_needs_nothing_of_the_other(project: Workspace) -> None:
    named = re.findall(r"-- (results/cal/[\w./]+)", text("docs/recipes/cal.md"))
    assert [path.split("/")[2] for path in named] == ["models", "ollama", "metrics"]
    for target, last in zip(named, ("choose_merge", "check_parity", "score_answers"), strict=True):
        made = {path for path in places(project.dry_run(target, config=choice("cal", "full"))) if "results" in path}
        assert any(path.startswith("results/cal/folds/DA/") for path in made)
        assert not [path for path in made if "/DB" in path or "/full/" in path]
        jobs = project.planned(target, config=choice("cal", "full"))  # as far as is known before the fold is made
        assert (jobs["make_folds"], jobs[last]) == (1, 1)


def test_the_files_of_the_page_of_documents_are_those_that_its_rules_make(project: Workspace) -> None:
    lines = re.findall(r"^\| (`[^|]*) \| (`\w+`(?:, `\w+`)*) \|", text("docs/recipes/documents.md"), re.M)
    said = {rule for _, rules in lines for rule in re.findall(r"`(\w+)`", rules)}
    assert {"read_documents", "format_qa", "check_parity"} <= said
    assert said <= project.planned("all", config=choice("documents", "full")).keys()


def test_all_recipes_and_their_variants_can_be_planned_together(project: Workspace) -> None:
    for scale, bases, depth in (("full", RECIPES, 1), ("tutorial", TUTORIALS, 2)):
        names = [*bases, *variants(bases)]
        made = places(project.dry_run("all", config=choice(",".join(names), scale)))
        assert {path.split("/")[-3] for path in made if path.endswith("/audit/files.json")} == {*names}
        assert {path.split("/")[depth] for path in made} == {*names}


def test_neither_scale_and_no_other_folder_overwrites_another(project: Workspace) -> None:
    recipe = TUTORIALS[0]
    full = places(project.dry_run("all", config=choice(recipe, "full")))
    tutorial = places(project.dry_run("all", config=choice(recipe, "tutorial")))
    elsewhere = places(project.dry_run("all", config=(*choice(recipe, "full"), "results_dir=elsewhere")))
    assert full and tutorial and full.isdisjoint(tutorial)
    assert elsewhere.isdisjoint(tutorial)
    assert {path for path in elsewhere & full if path.startswith("results/")} == set()


def test_the_jobs_of_the_published_recipe(project: Workspace) -> None:
    jobs = project.planned("all", config=choice("crag_mm", "full"))
    controls = {rule: count for rule, count in CONTROLS.items() if rule != "predict_answers"} | STUDENT
    once = dict.fromkeys(["fetch_images", *MODELS, "fetch_model", "export_safetensors"], 1)
    assert jobs == DATA_JOBS | once | controls


def test_the_jobs_of_the_tutorial(project: Workspace) -> None:
    jobs = project.planned("all", config=choice("crag_mm", "tutorial"))
    exported = ["make_tiny_base", "convert_gguf", "check_parity", "evaluate_retrieval", "plot_retrieval"]
    assert jobs == DATA_JOBS | dict.fromkeys([*MODELS, *exported], 1) | CONTROLS


def test_models_of_retrieval_are_fetched_from_the_hub_by_jobs_of_their_own(project: Workspace) -> None:
    full = project.planned("all", config=choice("hotpotqa", "full"))
    assert (full["fetch_encoder"], full["fetch_reranker"], full["index_vectors"], full["index_words"]) == (1, 1, 1, 1)
    hybrid = "overrides={hotpotqa: {recall: {backend: hybrid, index_shards: 3}}}"
    several = project.planned("all", config=(*choice("hotpotqa", "full"), hybrid))
    assert (several["fetch_encoder"], several["index_vectors"], several["index_words"]) == (1, 3, 3)
    tutorial = project.planned("all", config=choice("hotpotqa", "tutorial"))
    assert not {"fetch_encoder", "fetch_reranker"} & tutorial.keys() and "recall_by_meaning" in tutorial


def test_finished_examples_need_no_teacher_no_judge_and_no_prompt(project: Workspace) -> None:
    (project.root / "finished.jsonl").touch()
    (project.root / "config/recipes/finished.yaml").write_text(FINISHED)
    jobs = project.planned("all", config=choice("finished", "full"))
    data = {"ingest_records": 1, "make_splits": 1, "make_folds": 2}
    controls = {name: 2 * count for name, count in CONTROLS.items()}
    once = [
        "make_tiny_base",
        "plot_training",
        "plot_risk_coverage",
        "predict_trivial",
        "score_answers",
        "describe_fold",
    ]
    models = dict.fromkeys(once, 2)
    assert jobs == data | models | controls | {"list_artifacts": 1}


def test_the_smaller_targets(project: Workspace) -> None:
    assert project.planned("data", config=choice("crag_mm", "tutorial")) == DATA_JOBS
    models = project.planned("models", config=choice("crag_mm", "tutorial"))
    for_folds = {rule: 1 for rule in DATA if not set(rule.split("_")) & REPORTING}
    assert models == for_folds | {"make_tiny_base": 1, "train_adapter": 1}


SHARDS = """overrides={crag_mm: {queries: {shards: 4}, label: {shards: 2}, synthesize: {shards: 3},
    evaluate: {shards: 2}}}"""
SHARD_JOBS = {
    "make_queries_shard": 4,
    "label_listwise_shard": 2,
    "label_relevance_shard": 2,
    "generate_answers_shard": 3,
    "judge_answers_shard": 3,
    "judge_predictions_shard": 8,  # two for each of four models
}


@pytest.mark.parametrize("scale", ["full", "tutorial"])
def test_shards_add_their_jobs_and_no_others(project: Workspace, scale: str) -> None:
    shards = " ".join(SHARDS.split())
    whole = project.planned("all", config=choice("crag_mm", scale))
    assert project.planned("all", config=(*choice("crag_mm", scale), shards)) == whole | SHARD_JOBS
    one = shards.replace("2", "1").replace("3", "1").replace("4", "1")
    assert project.planned("all", config=(*choice("crag_mm", scale), one)) == whole


def test_shards_of_one_recipe_leave_the_others_alone_and_what_merges_them_takes_no_gpu(project: Workspace) -> None:
    variant = "crag_mm_variant"
    shards = f"overrides={{{variant}: {{label: {{shards: 2}}}}}}"
    gpu = "resources={label_relevance: {gpus: 1}}"
    printed = project.dry_run("data", config=(*choice(f"crag_mm,{variant}", "full"), shards, gpu))
    made = places(printed)
    folders = [f"results/{variant}/shards/{step}" for step in ("recall_labeled", "pointwise_labeled")]
    ends = [f"{number}-of-2.{end}" for number in (1, 2) for end in ("jsonl", "meta.json")]
    expected = {f"{folder}/{end}" for folder in folders for end in ends}
    assert {path for path in made if "/shards/" in path} == expected
    assert {f"results/{name}/pointwise_labeled.jsonl" for name in ("crag_mm", variant)} <= made
    jobs = re.findall(r"^rule (label_relevance\w*):\n((?:    .*\n)+)", printed, re.M)
    gpus = {(rule, re.findall(r"recipe=(\w+)", job)[0]): re.findall(r"\bgpu=(\d)", job) for rule, job in jobs}
    assert gpus == {
        ("label_relevance_shard", variant): ["1"], ("label_relevance", variant): ["0"],
        ("label_relevance", "crag_mm"): ["1"],
    }  # fmt: skip


def test_a_pilot_can_be_planned_and_its_limit_is_checked(project: Workspace) -> None:
    pilot = (*choice("crag_mm", "full"), "overrides={crag_mm: {limit: 5}}")
    printed = project.dry_run("data", config=pilot, options=("--printshellcmds",))
    assert '"limit":5' in printed
    wrong = (*choice("crag_mm", "full"), "overrides={crag_mm: {limit: 0}}")
    assert "limit" in project.snakemake("data", config=wrong, options=("--dry-run",), fails=True)


def test_export_none_exports_nothing(project: Workspace) -> None:
    changes = "overrides={crag_mm: {export: {format: none, allow_unverified: false}}}"
    jobs = project.planned("all", config=(*choice("crag_mm", "tutorial"), changes))
    assert {"merge_adapter", "convert_gguf", "check_parity", "export_safetensors"}.isdisjoint(jobs)
    assert jobs["list_artifacts"] == 1


def test_snakemake_finds_nothing_to_lint(project: Workspace) -> None:
    command = [project.command()[0], "--lint"]
    done = subprocess.run(
        command, cwd=project.root, env=project.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_requirements_are_up_to_date_and_drift_is_noticed(project: Workspace) -> None:
    script, target = "make_requirements.py", "requirements.txt"
    current = check(project, script)
    assert current.returncode == 0, current.stderr
    path = project.root / target
    text = path.read_text()
    path.write_text(f"{text}\n")
    try:
        drifted = check(project, script)
    finally:
        path.write_text(text)
    assert drifted.returncode == 1
    assert Path(target).name in drifted.stdout + drifted.stderr


def check(project: Workspace, script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, f"scripts/setup/{script}", "--check"],
        cwd=project.root,
        env=project.environment() | {"PYTHONPATH": "scripts"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
