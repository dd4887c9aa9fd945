# What the rules share: the checked configuration and the run; the functions that rules use are in common/.

import os
import re
import secrets
import sys
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards
from snakemake.logging import logger

ROOT = Path(workflow.basedir)
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

import yaml
from finetrail.rows.artifacts import write_json
from finetrail.cluster.queue import prefer_programs
from finetrail.cluster.runs import note_end, note_master
from finetrail.cluster.site_lines import library_line, shell_lines
from finetrail.config.load import load_config
from finetrail.config.sections.serve import settings_digest
from finetrail.config.recipe import PHASES
from finetrail.config.current import (
    PLAN_VARIABLE,
    RUN_CONFIG_VARIABLE,
    VERSIONS_VARIABLE,
)
from finetrail.errors import FinetrailError
from finetrail.preflight.base_checks import refuse_unfit_bases
from finetrail.digests.code_digest import Names, code_digest, tree_digests
from finetrail.digests.file_digest import env_digest, source_digest
from finetrail.digests.kept_sources import KEPT_SOURCES, keep_sources, take_kept_sources
from finetrail.step.gate import DIGESTS_VARIABLE, check_rules, current_digests
from finetrail.step.journal import RUN_VARIABLE, git_state
from finetrail.serving.offline.teacher import teacher_digest
from finetrail.digests.prompt_text import read_prompt
from finetrail.rows.records import canonical_json, sha256_file
from finetrail.workflow import originals
from finetrail.workflow.job_resources import JobOf, JobResources
from finetrail.workflow.known_form import known_form
from finetrail.workflow.models_asked import (
    check_own_servers,
    model_asked,
    served_files,
    served_manifests,
)
from finetrail.workflow.planning_warnings import planning_warnings
from finetrail.workflow.targets import Targets
from finetrail.workflow.traits import (
    TEXT_CONTROLS,
    answers_questions,
    control_names,
    fusing,
    has_one_fold,
    has_report,
    judge_is_tested,
    judges_texts,
    needed_paths,
    neural_models,
    plain_model,
    recalling,
    reporting,
    searches_a_corpus,
    searches_for_itself,
    source_paths,
    text_models,
    trained_whole,
)
from ingest.readers.registry import READERS

RULE_FILES = sorted((ROOT / "rules").rglob("*.smk"))
# Of rules that are another rule with other files, too; a shard's job is what its rule's entry says.
RULE = re.compile(
    r"^(?:rule\s|checkpoint\s|use\srule\s\w+\sas\s)(\w+)(?::|\swith:)", re.M
)
RULE_NAMES = [
    name
    for path in RULE_FILES
    for name in RULE.findall(path.read_text())
    if not name.endswith("_shard")
]

try:
    CONFIG = load_config(
        ROOT,
        configfiles=[Path(path) for path in workflow.configfiles],
        config=workflow.config_settings.config,
        rule_names=RULE_NAMES,
        reader_names=READERS,
    )
    if workflow.is_main_process:
        refuse_unfit_bases(CONFIG)
except FinetrailError as error:
    raise WorkflowError(str(error))

if plan_config := os.environ.get(PLAN_VARIABLE):
    Path(plan_config).write_text(yaml.safe_dump(CONFIG.merged(), sort_keys=False))

# `--resources` on the command line replaces the profile's line, and the cap of `llm` with it.
if workflow.is_main_process and workflow.global_resources.get("llm").value is None:
    workflow.register_resource("llm", 1)
LLM_SHARES = workflow.global_resources.get("llm").value or 1
if workflow.is_main_process and workflow.global_resources.get("llm").value < 1:
    raise WorkflowError(
        "--resources llm: at least 1 is needed, or no job may ask a model"
    )

RESULTS = CONFIG.results.as_posix()
TARGETS = Targets(CONFIG)
TUTORIAL = CONFIG.scale == "tutorial"
LOGS = "logs/tutorial" if TUTORIAL else "logs"
BENCHMARKS = "benchmarks/tutorial" if TUTORIAL else "benchmarks"
# Scripts find the library by this path, also inside the rules' environments, where PYTHONPATH would be gone.
PREFIX = "\n".join(
    [
        "set -euo pipefail; exec < /dev/null",
        *shell_lines(CONFIG.site),
        library_line(SCRIPTS),
    ]
)
# Snakemake would fill in what stands in braces.
shell.prefix(PREFIX.replace("{", "{{").replace("}", "}}"))


container: CONFIG.site.container


if CONFIG.site.conda_prefix and not workflow.deployment_settings.conda_prefix:
    workflow.deployment_settings.conda_prefix = Path(
        os.path.expandvars(CONFIG.site.conda_prefix)
    )


def start_run():
    """Write the merged configuration and the digests that every job of this run is held to."""
    started = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    run = Path(LOGS) / "runs" / started
    settings = CONFIG.merged() | {"llm_shares": LLM_SHARES}
    merged = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    for path in (CONFIG.results / "run_config.yaml", run / "run_config.yaml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(merged, encoding="utf-8")
    write_json(run / "digests.json", DIGESTS)
    note_master(run, sys.argv[1:], submits=workflow.non_local_exec)
    write_json(
        run / "origins.json", {name: CONFIG.origins(name) for name in CONFIG.recipes}
    )
    os.environ[RUN_VARIABLE] = str(run)
    os.environ[RUN_CONFIG_VARIABLE] = str(run / "run_config.yaml")
    os.environ[DIGESTS_VARIABLE] = str(run / "digests.json")
    # Refusals of SLURM that will pass are waited out by a program before its sbatch.
    if workflow.non_local_exec:
        prefer_programs(ROOT / "profiles" / "slurm" / "bin")


def rule_digests():
    """Return the SHA-256 of each file of the workflow, by its name."""
    files = (ROOT / "Snakefile", *RULE_FILES)
    return {path.relative_to(ROOT).as_posix(): sha256_file(path) for path in files}


def run_digests():
    """Collect what the jobs compare with their own: rules, code, prompts, settings and the config files."""
    prompts = sorted((ROOT / "config" / "prompts").rglob("*.md"))
    configs = sorted((ROOT / "config").rglob("*.yaml")) + [
        Path(path) for path in workflow.configfiles
    ]
    return {
        "rules": rule_digests(),
        "code": tree_digests(SCRIPTS.rglob("*.py"), SCRIPTS),
        "prompts": {
            path.relative_to(ROOT).as_posix(): read_prompt(path).digest
            for path in prompts
        },
        "settings": {name: CONFIG.result_settings(name) for name in CONFIG.recipes},
        "config": {os.path.relpath(path): sha256_file(path) for path in configs},
        "git": git_state(ROOT),
    }


take_kept_sources(KEPT_SOURCES)
# A job on a cluster is held to what the master wrote; the rest its script checks.
DIGESTS = {} if workflow.remote_exec else run_digests()
keep_sources(KEPT_SOURCES)
CODE_DIGEST = cache(partial(code_digest, root=SCRIPTS, names=Names()))

if workflow.remote_exec and (started_with := current_digests()):
    try:
        check_rules(started_with, rule_digests())
    except FinetrailError as error:
        raise WorkflowError(str(error))


include: "common/params.smk"
include: "common/step.smk"
include: "common/originals.smk"
include: "common/resources.smk"
include: "common/inputs.smk"
include: "common/retrieval.smk"
include: "common/labels.smk"
include: "common/targets.smk"
include: "common/versions.smk"


def check_before_jobs():
    """Stop, or warn, before any job at what can be known by then."""
    try:
        if missing := list(originals.missing_files(CONFIG)):
            raise WorkflowError("\n".join(missing))
        if workflow.remote_exec:
            return
        for warning in planning_warnings(CONFIG):
            logger.warning(warning)
        for warning in check_own_servers(CONFIG) if CONFIG.llm.mode == "live" else ():
            logger.warning(warning)
    except FinetrailError as error:
        raise WorkflowError(str(error))


if VERSIONS_VARIABLE not in os.environ:
    check_before_jobs()
