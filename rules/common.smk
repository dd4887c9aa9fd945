# What the rules share: the checked configuration, and functions that give inputs, params and resources.

import itertools
import operator
import os
import re
import secrets
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

ROOT = Path(workflow.basedir)
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

import yaml

from finetrail.artifacts import write_json
from finetrail.cluster.runs import note_end, note_master
from finetrail.cluster.site_lines import shell_lines
from finetrail.config.load import load_config
from finetrail.config.model_serve import settings_digest
from finetrail.config.places import is_folder
from finetrail.config.model import PHASES
from finetrail.config.current import PLAN_VARIABLE, RUN_CONFIG_VARIABLE
from finetrail.errors import FinetrailError
from finetrail.lineage.code_digest import code_digest, tree_digests
from finetrail.lineage.file_digest import env_digest, source_digest
from finetrail.lineage.gate import DIGESTS_VARIABLE, check_rules, current_digests
from finetrail.lineage.journal import RUN_VARIABLE, git_state
from finetrail.llm.offline import teacher_digest
from finetrail.llm.launch import interpreter
from finetrail.llm.preflight import check_served as check_served_by_vllm
from finetrail.llm.preflight import model_file
from finetrail.llm.prompts import load_prompt
from finetrail.metrics.summary import summary_lines
from finetrail.records import canonical_json, sha256_file
from ingest.readers.registry import READERS

RULE_FILES = sorted((ROOT / "rules").glob("*.smk"))
RULE_NAMES = [
    name
    for path in RULE_FILES
    for name in re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(), re.M)
]

try:
    CONFIG = load_config(
        ROOT,
        configfiles=[Path(path) for path in workflow.configfiles],
        config=workflow.config_settings.config,
        rule_names=RULE_NAMES,
        reader_names=READERS,
    )
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

# Where a recipe refers to a model that is asked.
MODEL_KEYS = (
    "queries.model",
    "label.model",
    "synthesize.teacher",
    "synthesize.judge",
    "evaluate.judge",
)
RESULTS = CONFIG.results.as_posix()
TUTORIAL = CONFIG.scale == "tutorial"
LOGS = "logs/tutorial" if TUTORIAL else "logs"
BENCHMARKS = "benchmarks/tutorial" if TUTORIAL else "benchmarks"
# Scripts find the library by this path, also inside the rules' environments, where PYTHONPATH would be gone.
PREFIX = "\n".join(
    [
        "set -euo pipefail",
        *shell_lines(CONFIG.site),
        f"export PYTHONNOUSERSITE=1 PYTHONPATH={str(SCRIPTS)!r}\n",
    ]
)
# Snakemake would fill in what stands in braces.
shell.prefix(PREFIX.replace("{", "{{").replace("}", "}}"))
if CONFIG.site.conda_prefix and not workflow.deployment_settings.conda_prefix:
    workflow.deployment_settings.conda_prefix = Path(
        os.path.expandvars(CONFIG.site.conda_prefix)
    )


def start_run():
    """Write the merged configuration and the digests that every job of this run is held to."""
    run = (
        Path(LOGS)
        / "runs"
        / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    )
    settings = CONFIG.merged() | {"llm_shares": LLM_SHARES}
    merged = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    for path in (CONFIG.results / "run_config.yaml", run / "run_config.yaml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(merged, encoding="utf-8")
    write_json(run / "digests.json", DIGESTS)
    note_master(run, sys.argv[1:])
    write_json(
        run / "origins.json", {name: CONFIG.origins(name) for name in CONFIG.recipes}
    )
    os.environ[RUN_VARIABLE] = str(run)
    os.environ[RUN_CONFIG_VARIABLE] = str(run / "run_config.yaml")
    os.environ[DIGESTS_VARIABLE] = str(run / "digests.json")


def end_run():
    """Note that the master came to its own end."""
    note_end(Path(os.environ[RUN_VARIABLE]))


def run_digests():
    """Collect what the jobs compare with their own: rules, code, prompts, settings and the config files."""
    prompts = sorted((ROOT / "config" / "prompts").rglob("*.md"))
    configs = sorted((ROOT / "config").rglob("*.yaml")) + [
        Path(path) for path in workflow.configfiles
    ]
    return {
        "rules": {
            path.relative_to(ROOT).as_posix(): sha256_file(path)
            for path in (ROOT / "Snakefile", *RULE_FILES)
        },
        "code": tree_digests(SCRIPTS.rglob("*.py"), SCRIPTS),
        "prompts": {
            path.relative_to(ROOT).as_posix(): load_prompt(path).digest
            for path in prompts
        },
        "settings": {name: CONFIG.result_settings(name) for name in CONFIG.recipes},
        "config": {os.path.relpath(path): sha256_file(path) for path in configs},
        "git": git_state(ROOT),
    }


DIGESTS = run_digests()

if workflow.remote_exec and (started_with := current_digests()):
    try:
        check_rules(started_with, DIGESTS["rules"])
    except FinetrailError as error:
        raise WorkflowError(str(error))


def settings_of(*keys):
    """Return the result settings under dotted keys, as canonical JSON: a change of theirs reruns the rule."""
    return lambda wildcards: canonical_json(CONFIG.settings_at(wildcards.recipe, *keys))


def model_settings(wildcards):
    """Return the training settings of a model; a shuffled control is trained with its model's."""
    model = f"train.models.{plain_model(wildcards.model)}"
    return canonical_json(
        CONFIG.settings_at(wildcards.recipe, model, "limits", "source.images")
    )


def merge_settings(wildcards):
    """Return what a merge is chosen by: how the model was trained, and how it is exported."""
    model = f"train.models.{plain_model(wildcards.model)}"
    recipe = CONFIG.recipe(wildcards.recipe)
    export = ["export.format", "export.quantization"] if recipe.export else []
    return canonical_json(
        CONFIG.settings_at(wildcards.recipe, model, "limits", *export)
    )


def shuffle_option(wildcards):
    """Return the option that makes a training a shuffled control."""
    return (
        "--shuffle-targets" if wildcards.model != plain_model(wildcards.model) else ""
    )


def shard_option(wildcards):
    """Return the option that makes a job of a step do one shard of its rows."""
    if "shard" not in wildcards.keys():
        return ""
    return f"--shard {wildcards.shard}/{wildcards.shards}"


def shard_files(phase, step):
    """Return the function that lists what the shards of a step write, for the job that merges them."""

    def files(wildcards):
        section = getattr(CONFIG.recipe(wildcards.recipe), phase)
        if "shard" in wildcards.keys() or section is None or section.shards == 1:
            return []
        folder = f"{RESULTS}/{wildcards.recipe}/shards/{step.format(**wildcards)}"
        numbers = range(1, section.shards + 1)
        return [
            f"{folder}/{number}-of-{section.shards}.{end}"
            for number in numbers
            for end in ("jsonl", "meta.json")
        ]

    return files


def state_folder(wildcards):
    """Return where a training keeps its checkpoints; Snakemake fills in no path variables among params."""
    return f"{RESULTS}/state/{wildcards.recipe}.{wildcards.model}.{wildcards.fold}"


def training_seed(wildcards):
    """Return the seed of a model's training."""
    return (
        CONFIG.recipe(wildcards.recipe).train.models[plain_model(wildcards.model)].seed
    )


def code_of(script):
    """Return the digest of a script and of every local module that it imports."""
    return code_digest(SCRIPTS / script, SCRIPTS)


def env_of(name):
    """Return the digest of an environment file, for rules whose results depend on its versions."""
    return env_digest(ROOT / "envs" / f"{name}.yaml")


def prompt_of(name):
    """Return the path of a prompt; a variant uses its base's unless it has its own."""
    return lambda wildcards: CONFIG.prompt_path(wildcards.recipe, name).as_posix()


def prompt_digest_of(name):
    """Return the digest of a prompt's content, so that an edit reruns the rule and a touch does not."""
    return lambda wildcards: load_prompt(
        ROOT / CONFIG.prompt_path(wildcards.recipe, name)
    ).digest


def model_asked(recipe, key):
    """Return the model reference at a key of a recipe, and its endpoint; None twice where no model is asked."""
    section, _, name = key.rpartition(".")
    section = operator.attrgetter(section)(CONFIG.recipe(recipe))
    if section is None or not getattr(section, "enabled", True):
        return None, None
    reference = getattr(section, name)
    return reference, reference and CONFIG.endpoint(reference.endpoint)


def judging_prompt(wildcards):
    """Return the options that name the judge's prompt and its digest; none where answers are scored without a judge."""
    if CONFIG.recipe(wildcards.recipe).evaluate.judge is None:
        return ""
    path = prompt_of("judge_answers")(wildcards)
    digest = prompt_digest_of("judge_answers")(wildcards)
    return f"--prompt {shlex.quote(path)} --prompt-digest {digest}"


def teacher_of(key):
    """Return a digest of what decides the answers of a server that the rule starts itself, beside the model reference."""

    def digest(wildcards):
        reference, endpoint = model_asked(wildcards.recipe, key)
        if endpoint is None or endpoint.kind == "openai":
            return "none"
        if endpoint.kind == "offline":
            return teacher_digest()
        return digest_of(lambda _: served_files(reference, endpoint))(
            wildcards
        ) + settings_digest(endpoint.serve, reference.model)

    return digest


def served_files(reference, endpoint):
    """Return what a server of our own reads from the disk; what this workflow makes is an input instead."""
    adapter = endpoint.serve.lora_modules.get(reference.model)
    folders = [adapter.base, adapter.path] if adapter else [reference.model]
    named = [name for name in folders if is_folder(name) and not is_made_here(name)]
    return [Path(name) for name in (*named, endpoint.serve.chat_template) if name]


def is_made_here(name):
    """Tell whether a folder stands among the results."""
    return Path(os.path.relpath(name)).is_relative_to(RESULTS)


def served_model(key):
    """Return the manifests of the models of this workflow that a server of our own is to load."""

    def manifests(wildcards):
        reference, endpoint = model_asked(wildcards.recipe, key)
        if endpoint is None or not endpoint.is_own_server:
            return []
        adapter = endpoint.serve.lora_modules.get(reference.model)
        folders = [adapter.base, adapter.path] if adapter else [reference.model]
        made = [name for name in folders if is_folder(name) and is_made_here(name)]
        return [f"{os.path.relpath(name)}/manifest.json" for name in made]

    return manifests


def source_of(*keys):
    """Return a digest of the content of the original files that keys of `source` name."""
    return digest_of(
        lambda wildcards: [
            path for key in keys for path in source_paths(wildcards, key)
        ]
    )


def digest_of(paths):
    """Return a digest of the content of files, which also sees a file replaced by an older one."""

    def digest(wildcards):
        try:
            return source_digest(
                paths(wildcards), Path(".snakemake") / "finetrail_sources.json"
            )
        except FinetrailError as error:
            raise WorkflowError(str(error))

    return digest


def source_paths(wildcards, key):
    """Return the original files, or the folder, that a key of `source` names."""
    return originals(wildcards.recipe, key)


def originals(recipe, key):
    """Return the paths that a key of a recipe's `source` names."""
    named = getattr(CONFIG.recipe(recipe).source, key)
    return [Path(path) for path in ([named] if isinstance(named, str) else named or [])]


def check_originals():
    """Stop before any job when original files are gone, also where all was made: Snakemake would not miss them."""
    gone = [
        f"{recipe}: source.{key}: {path} does not exist. Put it there or name another in"
        f" config/recipes/{recipe}.yaml; data/README.md says where published data are to be had"
        for recipe in CONFIG.recipes
        for key in ("files", "corpus", "images", "questions")
        for path in originals(recipe, key)
        if key != "corpus" or recall_backend(recipe) == "bm25"
        if not path.exists() and not path.with_name(f"{path.name}.dvc").exists()
    ]
    gone += [
        f"{name}: {key}: {path} does not exist: name another, or leave the key out"
        for name, recipe in CONFIG.recipes.items()
        for key, path in named_files(recipe)
        if not Path(path).exists() and not Path(f"{path}.dvc").exists()
    ]
    gone += [
        f"{name}: splits.previous: {recipe.splits.previous} lies among the results, which it decides: copy it elsewhere,"
        " and name the copy"
        for name, recipe in CONFIG.recipes.items()
        if recipe.splits.previous
        and Path(recipe.splits.previous)
        .resolve()
        .is_relative_to(Path(RESULTS).resolve())
    ]
    if gone:
        raise WorkflowError("\n".join(gone))


def named_files(recipe):
    """List the files besides the original records that a recipe's splits and folds name."""
    previous = recipe.splits.previous
    return [
        *([("splits.previous", previous)] if previous else []),
        *(("folds.benchmarks", path) for path in recipe.folds.benchmarks),
    ]


def check_served():
    """Stop before any job when vLLM is to serve a model that it does not know; what is made here is not there yet.

    Warn where vLLM itself is missing: a job that waits for a GPU would find out too late.
    """
    if CONFIG.llm.mode == "replay" or workflow.remote_exec:
        return
    for recipe, key in itertools.product(CONFIG.recipes, MODEL_KEYS):
        reference, endpoint = model_asked(recipe, key)
        if endpoint is None or endpoint.kind != "vllm":
            continue
        try:
            interpreter(endpoint.kind, endpoint.serve)
        except (
            FinetrailError
        ) as error:  # no error yet: the call store may hold every answer
            logger.warning(f"{recipe}: {key}: {error}")
        adapter = endpoint.serve.lora_modules.get(reference.model)
        asked = adapter or reference
        model = adapter.base if adapter else reference.model
        config = model_file(model, asked.revision, "config.json")
        if config is not None:
            try:
                check_served_by_vllm(
                    config, f"{recipe}: {key}: {model}", max(endpoint.gpus, 1)
                )
            except FinetrailError as error:
                raise WorkflowError(str(error))


def source_files(wildcards):
    """Return the files of original records; of documents their chunks, and files of questions beside them."""
    if CONFIG.recipe(wildcards.recipe).documents is None:
        return source_paths(wildcards, "files")
    chunks = f"{RESULTS}/{wildcards.recipe}/chunks.jsonl"
    return [chunks, *source_paths(wildcards, "questions")]


def document_paths(wildcards):
    """Return the documents, and folders of documents, as words of a command line."""
    paths = source_paths(wildcards, "files")
    return " ".join(shlex.quote(path.as_posix()) for path in paths)


def tokenizer_file(wildcards):
    """Return the file of the tokenizer that chunks are measured by; nothing where there is none."""
    tokenizer = CONFIG.recipe(wildcards.recipe).documents.tokenizer
    return [Path(tokenizer.path)] if tokenizer and tokenizer.path else []


def held_out_file(wildcards):
    """Return the questions of dev and test where they were made; nothing where the records have their own."""
    synthesize = CONFIG.recipe(wildcards.recipe).synthesize
    made = synthesize is not None and synthesize.kind == "questions"
    return [f"{RESULTS}/{wildcards.recipe}/questions.jsonl"] if made else []


def corpus_files(wildcards):
    """Return the files of passages."""
    return source_paths(wildcards, "corpus")


def previous_splits(wildcards):
    """Return the earlier assignment that records keep; nothing where there is none."""
    path = CONFIG.recipe(wildcards.recipe).splits.previous
    return [Path(path)] if path else []


def benchmark_files(wildcards):
    """Return the files of texts that training must not have seen."""
    return [Path(path) for path in CONFIG.recipe(wildcards.recipe).folds.benchmarks]


def base_folder(wildcards):
    """Return the local folder of the base model; nothing where it comes from the hub."""
    path = CONFIG.recipe(wildcards.recipe).base_model.path
    return [Path(path)] if path else []


def gpus_for(rule, recipe, key):
    """Return the GPUs of a rule's job: those of its entry in `resources`, else those of the server that it starts."""
    entry = CONFIG.resources.get(rule)
    if entry is not None and entry.gpus is not None:
        return entry.gpus
    _, endpoint = model_asked(recipe, key)
    return max(CONFIG.resources_for(rule)["gpus"], endpoint.gpus if endpoint else 0)


def resources_of(rule, asks=None, searches=False):
    """Return a rule's resources, threads aside, as the executor knows them.

    `asks` is the key of the model reference of a rule that asks a model; `searches` is true of one that asks the
    recipe's search service.
    """
    asked = CONFIG.resources_for(rule)
    most = max(asked.get("max_mem_mb", 2 * asked["mem_mb"]), asked["mem_mb"])

    def gpus(wildcards, input):
        if not asks:
            return asked["gpus"]
        return 0 if is_merging(input) else gpus_for(rule, wildcards.recipe, asks)

    named = {
        "mem_mb": lambda wildcards, attempt: min(asked["mem_mb"] * attempt, most),
        "runtime": asked["runtime"],
    }
    names = ("slurm_partition", "slurm_extra", "gpu_model", "constraint")
    named |= {
        name: (
            lambda wildcards, input, name=name: slurm_options(
                asked, gpus(wildcards, input)
            ).get(name)
        )
        for name in names
        if slurm_options(asked, gpus=0).get(name)
        or slurm_options(asked, gpus=1).get(name)
    }
    named |= {
        name: asked[key]
        for name, key in (("slurm_account", "account"), ("qos", "qos"))
        if asked.get(key)
    }
    if (
        asked["gpus"]
        or asks
        and any(gpus_for(rule, name, asks) for name in CONFIG.recipes)
    ):
        named["gpu"] = gpus
    if asks:
        ASKING[rule] = asks
        named["llm"] = shares_of(
            lambda recipe: shared_model(recipe, asks), asked["llm"]
        )
    if searches:
        named["llm"] = shares_of(shared_search, asked["llm"])
    return named


# Rules that ask a model, with the key of its reference.
ASKING = {}
# Rules that need the internet for something else.
ONLINE = {"search_passages", "fetch_model"}


def slurm_options(asked, gpus):
    """Return what a job asks of SLURM that depends on whether it wants GPUs."""
    site = CONFIG.site
    kind = site.gpu_partition if gpus else site.cpu_partition
    partition = asked.get("partition") or kind
    options = {"slurm_partition": partition, "constraint": asked.get("constraint")}
    if gpus:
        options["gpu_model"] = asked.get("gpu_model")
    # SLURM queues a preempted job again by itself; a job on a node that failed is left to the retries.
    if partition in site.preemptible:
        options["slurm_extra"] = "--requeue"
    return options


def local_rules():
    """List the rules whose jobs run where Snakemake runs, shards included; GPU jobs are always submitted."""

    def is_local(rule):
        if CONFIG.resources_for(rule)["local"]:
            return True
        if CONFIG.llm.run_on == "compute":
            return False
        if (key := ASKING.get(rule)) is None:
            return rule in ONLINE
        asked = [model_asked(name, key)[1] for name in CONFIG.recipes]
        online = any(endpoint and endpoint.kind == "openai" for endpoint in asked)
        gpus = any(gpus_for(rule, name, key) for name in CONFIG.recipes)
        return online and not gpus

    names = [rule.name for rule in workflow.rules]
    return [name for name in names if is_local(name.removesuffix("_shard"))]


def retries_of(rule):
    """Return how often a failed job is tried again; None leaves it to the profile, since a local run has none."""
    return CONFIG.resources_for(rule).get("retries")


def is_merging(input):
    """Say whether a job only merges shards: it asks no model."""
    return bool(getattr(input, "shards", None))


def shared_model(recipe, key):
    """Return the endpoint of a model reference where others ask it, too; none of a server of our own."""
    _, endpoint = model_asked(recipe, key)
    return endpoint if endpoint and endpoint.kind == "openai" else None


def shared_search(recipe):
    """Return the endpoint of a recipe's search service."""
    return CONFIG.search.endpoints[CONFIG.recipe(recipe).recall.http.search_endpoint]


def shares_of(shared, asked):
    """Return how many shares of an endpoint's ceilings a job takes; none where it asks no server that others ask."""

    def shares(wildcards, input):
        endpoint = shared(wildcards.recipe)
        if endpoint is None or is_merging(input):
            return 0
        # No share may be less than one call: where a ceiling has fewer than there are shares, a job takes several.
        smallest = min(
            endpoint.max_concurrency, endpoint.requests_per_minute or sys.maxsize
        )
        return max(asked, -(-LLM_SHARES // smallest))

    return shares


def threads_of(rule):
    """Return a rule's threads."""
    return CONFIG.resources_for(rule)["threads"]


# What the phases before the folds leave for those behind them.
PRODUCTS = {
    "ingest": "records.jsonl",
    "recall": "reranked.jsonl",
    "label": "pointwise_labeled.jsonl",
    "synthesize": "synthetic.jsonl",
}


def before(phase):
    """Return what gives a phase its rows: the product of the last phase before it that the recipe uses."""
    order = list(PHASES)
    earlier = [name for name in PRODUCTS if order.index(name) < order.index(phase)]

    def rows(wildcards):
        used = CONFIG.recipe(wildcards.recipe).phases
        *_, last = (PRODUCTS[name] for name in earlier if name in used)
        return f"{RESULTS}/{wildcards.recipe}/{last}"

    return rows


def passages_file(wildcards):
    """Return the passages; nothing where the recipe has none."""
    searched = CONFIG.recipe(wildcards.recipe).recall
    return [f"{RESULTS}/{wildcards.recipe}/passages.jsonl"] if searched else []


def recipes_where(fits):
    """Match the recipes that something holds of; nothing where there is none."""
    names = [name for name, recipe in CONFIG.recipes.items() if fits(recipe)]
    return "|".join(names) or "(?!)"


def recipes_with(phase):
    """Match the recipes that use a phase."""
    return recipes_where(lambda recipe: phase in recipe.phases)


def recipes_synthesizing(kind):
    """Match the recipes that synthesize a kind of examples."""
    return recipes_where(
        lambda recipe: recipe.synthesize and recipe.synthesize.kind == kind
    )


def recipes_scoring(metric):
    """Match the recipes that are scored by a metric."""
    return recipes_where(
        lambda recipe: recipe.evaluate and recipe.evaluate.metric == metric
    )


def made_fold(wildcards):
    """Return the fold's checkpoint. A rule behind it whose inputs do not ask for it is never looked at again."""
    return checkpoints.make_folds.get(recipe=wildcards.recipe, fold=wildcards.fold)


def fold_file(name):
    """Return a file of a fold, known once the fold was made: unchanged bytes then rerun nothing."""
    return lambda wildcards: made_fold(wildcards).output.get(name)


def base_manifest(wildcards):
    """Return the manifest of the base model: made here, or fetched."""
    if CONFIG.recipe(wildcards.recipe).base_model.tiny:
        return f"{RESULTS}/{wildcards.recipe}/bases/{wildcards.fold}/manifest.json"
    return f"{RESULTS}/{wildcards.recipe}/base_model/manifest.json"


def trained_whole(recipe, model):
    """Tell whether training changes all weights of a model, so that there is no adapter."""
    tuned = CONFIG.recipe(recipe).train.models.get(plain_model(model))
    return tuned is not None and tuned.method == "full"


def models_trained_by(*methods):
    """Match the models, and their shuffled controls, that are trained by some methods; nothing where there is none."""
    # Two recipes may have models of one name: what stands before the model's name in a path tells them apart.
    names = [
        f"(?<=/{name}/models/){model}(?:_shuffled)?"
        for name, recipe in CONFIG.recipes.items()
        for model in models_of(name)
        if recipe.train.models[model].method in methods
    ]
    return "|".join(names) or "(?!)"


def weights_folder(recipe, model):
    """Name the folder that training publishes."""
    return "final_checkpoint" if trained_whole(recipe, model) else "final_adapter"


def model_manifest(wildcards, folder):
    """Return the manifest in a folder of a model."""
    place = f"{RESULTS}/{wildcards.recipe}/models/{wildcards.model}/{wildcards.fold}"
    return f"{place}/{folder}/manifest.json"


def merged_manifest(wildcards):
    """Return the manifest of the model as it is exported: merged, or trained whole."""
    made_fold(wildcards)
    whole = trained_whole(wildcards.recipe, wildcards.model)
    return model_manifest(
        wildcards, "final_checkpoint" if whole else "final_merged_checkpoint"
    )


def training_log(wildcards):
    """Return the log of a model's training."""
    made_fold(wildcards)
    place = f"{RESULTS}/{wildcards.recipe}/models/{wildcards.model}/{wildcards.fold}"
    return f"{place}/training_log.jsonl"


def adapter_manifest(wildcards):
    """Return the manifest of a model's adapter; the untuned base and a model trained whole have none."""
    made_fold(wildcards)
    if wildcards.model == "base" or trained_whole(wildcards.recipe, wildcards.model):
        return []
    return model_manifest(wildcards, "final_adapter")


def predicting_manifest(wildcards):
    """Return the manifest of what predicts: a model trained whole, else the base (with its adapter)."""
    if wildcards.model != "base" and trained_whole(wildcards.recipe, wildcards.model):
        return model_manifest(wildcards, "final_checkpoint")
    return base_manifest(wildcards)


def plain_model(model):
    """Return the model that a shuffled control belongs to; other models are themselves."""
    return model.removesuffix("_shuffled")


def control_names(model):
    """Return what a model is compared with: untuned base, shuffled labels, trivial answers."""
    return ["base", f"{model}_shuffled", "trivial"]


def control_files(wildcards):
    """Return the judged predictions of a model's controls."""
    made_fold(wildcards)
    folder = f"{RESULTS}/{wildcards.recipe}/predictions"
    return [
        f"{folder}/{name}/{wildcards.fold}.judged.jsonl"
        for name in control_names(wildcards.model)
    ]


def neural_models():
    """Match the models that predict with a network: the tuned ones, their shuffled controls and the base."""
    tuned = {model for recipe in CONFIG.recipes for model in models_of(recipe)}
    return "|".join(sorted({"base", *tuned, *(f"{model}_shuffled" for model in tuned)}))


def recipes_exporting(form):
    """Match the recipes that export in a format."""
    return recipes_where(lambda recipe: recipe.export and recipe.export.format == form)


def models_of(recipe):
    """List the models that a recipe tunes; none where it ends with its folds."""
    train = CONFIG.recipes[recipe].train
    return list(train.models) if train else []


def recall_backend(recipe):
    """Return the backend of a recipe's recall; none where the recipe has no such phase."""
    chosen = CONFIG.recipes[recipe]
    return chosen.recall.backend if chosen.recall else None


def recipes_recalling(backend):
    """Match the recipes whose recall has a backend; nothing where there is none."""
    names = [name for name in CONFIG.recipes if recall_backend(name) == backend]
    return "|".join(names) or "(?!)"


def per_model(recipe, pattern):
    """Fill a path under the results folder for every model and fold of a recipe."""
    folds = CONFIG.recipes[recipe].folds.names
    return [
        f"{RESULTS}/{recipe}/{pattern.format(model=model, fold=fold)}"
        for model in models_of(recipe)
        for fold in folds
    ]


def metrics_files():
    """List the metrics files of all chosen recipes."""
    return [
        path
        for name, recipe in CONFIG.recipes.items()
        if recipe.evaluate
        for path in per_model(name, "metrics/{model}/{fold}.json")
    ]


def result_lines():
    """Say what a successful run came to: the scores, where they stand, and how to load the model."""
    made = [Path(path) for path in metrics_files() if Path(path).is_file()]
    load = f"make ollama RECIPE={' '.join(CONFIG.recipes)} SCALE={CONFIG.scale}"
    return [
        *(line for path in made for line in summary_lines(path)),
        *([f"Load into Ollama: {load}"] if made and export_files() else []),
    ]


def fold_files():
    """List the fold reports and data cards of all chosen recipes."""
    chosen = CONFIG.recipes.items()
    return [
        f"{RESULTS}/{name}/folds/{fold}/{file}"
        for name, recipe in chosen
        for fold in recipe.folds.names
        for file in ("report.json", "card.md")
    ]


def formatted_files():
    """List the formatted pairs and the validation reports of all chosen recipes that make questions."""
    return [
        f"{RESULTS}/{name}/{file}"
        for name, recipe in CONFIG.recipes.items()
        if recipe.synthesize and recipe.synthesize.kind == "questions"
        for file in (
            "validation_report.json",
            *(
                f"formatted/{template}_t{recipe.synthesize.threshold}.jsonl"
                for template in recipe.synthesize.templates
            ),
        )
    ]


def model_files():
    """List the trained models of all chosen recipes."""
    return [
        f"{RESULTS}/{name}/models/{model}/{fold}/{weights_folder(name, model)}/manifest.json"
        for name, recipe in CONFIG.recipes.items()
        for model in models_of(name)
        for fold in recipe.folds.names
    ]


def plot_files():
    """List the pictures of the trainings of all chosen recipes."""
    return [
        path
        for recipe in CONFIG.recipes
        for path in per_model(recipe, "plots/{model}/{fold}.loss.svg")
    ]


def export_files():
    """List the exported folders of all chosen recipes that export."""
    exporting = [
        name
        for name, recipe in CONFIG.recipes.items()
        if recipe.export and recipe.export.format != "none"
    ]
    files = [
        f"ollama/{{model}}/{{fold}}/{name}" for name in ("parity.json", "Modelfile")
    ]
    return [
        path for name in exporting for file in files for path in per_model(name, file)
    ]


def audit_files():
    """List the audit files of all chosen recipes."""
    return [f"{RESULTS}/{recipe}/audit/files.json" for recipe in CONFIG.recipes]


# The steps of the phases before the folds, by the names of their meta files.
STEPS = {
    "ingest": ("records", "splits"),
    "recall": ("passages", "queries", "recall", "reranked"),
    "label": ("pointwise_labeled",),
}
SYNTHESIS = {
    "answers": ("answers", "judged", "synthetic"),
    "reasoning": ("replies", "synthetic"),
    "questions": (
        "qa",
        "training_data",
        "validated",
        "validation_report",
        "synthetic",
    ),
}


def data_metas(recipe):
    """Name the meta files of what a recipe makes before its folds."""
    steps = [step for phase in recipe.phases for step in STEPS.get(phase, ())]
    steps += ["documents", "chunks"] if recipe.documents else []
    if recipe.recall and recipe.recall.backend != "bm25":
        steps.remove("passages")
    steps += SYNTHESIS[recipe.synthesize.kind] if recipe.synthesize else ()
    return [f"{step}.meta.json" for step in steps]


def model_metas(recipe):
    """Name the meta files of what a recipe makes of each model and fold."""
    tiny = recipe.base_model.tiny
    names = ["bases/{fold}.meta.json" if tiny else "base_model.meta.json"]
    names += ["models/{model}/{fold}.meta.json", "plots/{model}/{fold}.loss.meta.json"]
    if recipe.evaluate:
        names += ["models/{model}_shuffled/{fold}.meta.json"]
        names += ["metrics/{model}/{fold}.meta.json"]
        for predictor in ("{model}", *control_names("{model}")):
            names += [f"predictions/{predictor}/{{fold}}.meta.json"]
            names += [f"predictions/{predictor}/{{fold}}.judged.meta.json"]
    if recipe.export and recipe.export.format != "none":
        exported = ["Modelfile"]
        exported += ["model.gguf"] if recipe.export.format == "gguf" else []
        names += [f"ollama/{{model}}/{{fold}}/{name}.meta.json" for name in exported]
    return names


def merged_metas(name, recipe):
    """List the meta files of merged models; one that was trained whole has nothing to merge."""
    exported = recipe.export and recipe.export.format != "none"
    return [
        f"{RESULTS}/{name}/models/{model}/{fold}.merged.meta.json"
        for model in models_of(name)
        for fold in recipe.folds.names
        if exported and not trained_whole(name, model)
    ]


def meta_files(wildcards):
    """List the meta files of everything that a recipe makes."""
    name, recipe = wildcards.recipe, CONFIG.recipe(wildcards.recipe)
    metas = [f"{RESULTS}/{name}/{meta}" for meta in data_metas(recipe)]
    metas += [
        f"{RESULTS}/{name}/folds/{fold}/{meta}.meta.json"
        for fold in recipe.folds.names
        for meta in ("fold", "card")
    ]
    if recipe.train:
        metas += [
            path for meta in model_metas(recipe) for path in per_model(name, meta)
        ]
    return list(dict.fromkeys([*metas, *merged_metas(name, recipe)]))


check_originals()
check_served()
