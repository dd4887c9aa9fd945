"""What a run hands to its jobs: the digests of environments, and the configuration file that jobs read."""

import re
from pathlib import Path

import pytest
import yaml

from finetrail.config.load import load_config
from finetrail.digests.file_digest import env_digest
from tests.workspace import Workspace

# Rules whose results depend on the versions of their environment; to be kept by hand, so that none is lost.
DEPENDING = {
    "load_passages": "data",
    "ingest_records": "data",
    "make_splits": "data",
    "make_folds": "data",
    "filter_passages": "data",
    "report_calibration": "data",
    "report_judging": "data",
    "score_answers": "data",
    "predict_trivial": "train",
    "index_words": "data",
    "index_vectors": "dense",
    "recall_passages": "data",
    "rerank_passages": "data",
    "pair_gold": "data",
    "plot_calibration": "plots",
    "search_passages": "data",
    "evaluate_retrieval": "data",
    "plot_retrieval": "plots",
    "fetch_images": "data",
    "make_tiny_base": "train",
    "train_adapter": "train",
    "plot_training": "plots",
    "predict_answers": "train",
    "predict_as_deployed": "train",
    "plot_risk_coverage": "plots",
    "merge_adapter": "train",
    "choose_merge": "export",
    "convert_gguf": "export",
    "check_parity": "export",
    "export_safetensors": "export",
}
FORMATS = ("gguf", "gguf", "safetensors")
FOUR_BITS = "train: {models: {small: {method: qlora, learning_rate: 1e-3, max_steps: 1}}}"
CALIBRATION = "label: {calibration: {planted: 1}}, synthesize: {planted: 1}, source: {fetch: {}}"
BACKENDS = (
    "recall: {backend: hybrid}, encoder: {path: config}",
    "recall: {backend: bm25}, student: {}",
    "recall: {backend: http, http: {search_endpoint: searxng, service: searxng}}",
)


@pytest.fixture
def project(fresh: Workspace, tmp_path: Path) -> Workspace:
    return fresh.copy(tmp_path / "project")


def environments(project: Workspace) -> dict[str, str]:
    """Return the digest of the environment that each job is given, in one dry run of a recipe for each format."""
    changes = []
    for number, (form, recall) in enumerate(zip(FORMATS, BACKENDS, strict=True)):
        (project.root / f"config/recipes/with_{number}.yaml").write_text("extends: crag_mm\n")
        export = f"export: {{format: {form}, allow_unverified: true}}"
        changes.append(f"with_{number}: {{{export}, {recall}, {FOUR_BITS}, {CALIBRATION}}}")
    recipes = ", ".join(f"with_{number}" for number in range(len(FORMATS)))
    config = (f"recipes=[{recipes}]", f"overrides={{{', '.join(changes)}}}")
    printed = project.dry_run("all", config=config, options=("--printshellcmds",))
    return dict(re.findall(r"python scripts/\w+/(\w+)\.py .*--environment (\S+)", printed))


def test_a_pin_reruns_exactly_the_rules_that_depend_on_it(project: Workspace) -> None:
    files = {name: project.root / "envs" / f"{name}.yaml" for name in DEPENDING.values()}
    before = environments(project)
    assert before == {rule: env_digest(files[name]) for rule, name in DEPENDING.items()}
    assert len(set(before.values())) == len(files), "no two files have one digest: each rule is given that of its own"
    for path in files.values():
        path.write_text(re.sub(r"==(\S+)", r"==\1.1", path.read_text(), count=1))
    after = environments(project)
    assert after == {rule: env_digest(files[name]) for rule, name in DEPENDING.items()}
    assert all(after[rule] != digest for rule, digest in before.items())


def test_a_run_writes_its_configuration_where_jobs_and_people_find_it(project: Workspace) -> None:
    project.snakemake("results/tutorial/crag_mm/passages.jsonl")
    (run,) = project.runs()
    kept = project.root / "logs/tutorial/runs" / run / "run_config.yaml"
    beside_results = project.root / "results/tutorial/run_config.yaml"
    assert beside_results.read_bytes() == kept.read_bytes()
    merged = load_config(
        project.root, configfiles=[project.root / "tests/chain/mini.yaml"], config={"scale": "tutorial"}
    )
    assert yaml.safe_load(kept.read_text()) == merged.merged() | {"llm_shares": 1}
