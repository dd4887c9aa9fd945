"""Whether the jobs of a run ask for machines on which their models fit: GPUs, memory, disk, artifacts, gated models."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from finetrail.config.recipe import RunConfig
from finetrail.config.sections.train import Export, TrainedModel
from finetrail.preflight.finding import Finding
from finetrail.preflight.requested_resources import Asked
from finetrail.training.tracking.adapter_zip import LIMIT
from finetrail.workflow.base_facts import Facts
from finetrail.workflow.declared import read_declared
from finetrail.workflow.job_resources import JobOf, JobResources
from finetrail.workflow.job_sizes import GB, MB, Size, adapter_weights
from finetrail.workflow.models_asked import MODEL_KEYS, model_asked
from finetrail.workflow.models_loaded import ModelsLoaded
from finetrail.workflow.traits import plain_model

TRAINING = frozenset({"train_adapter", "train_image_prefix"})
FP32, FP32_STATE = 4, 12
"""Bytes of a trained weight, and of it with the two moments of AdamW."""
ZIPPED = 0.93
"""What zip leaves of fp32 weights: signs and exponents repeat themselves, the rest does not."""
BITS: Mapping[str, float] = {
    "f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5, "q5_1": 6, "q5_0": 5.5, "q4_1": 5, "q4_0": 4.5
}  # fmt: skip
"""Bits of a weight in a GGUF file, scales included."""


def check_machines(run: RunConfig, jobs: Iterable[Asked], *, submits: bool) -> Iterator[Finding]:
    """Hold what the jobs of a dry run ask for against what their models need.

    Args:
        run: the configuration.
        jobs: of a dry run that shows its commands.
        submits: whether a cluster holds jobs to the memory that they asked for; a local run warns.
    """
    jobs = list(jobs)
    for job in jobs:
        size = needed(run, job)
        if size is not None:
            yield from _gpus(run, job, size)
            yield from _memory(run, job, size, submits=submits)
    yield from _artifacts(run, jobs)
    yield from _gated(run, jobs)
    yield from _room(run, jobs)


def needed(run: RunConfig, job: Asked) -> Size | None:
    """Return what a job's model needs; None of a job that loads none, or a tiny one."""
    if not job.script or job.recipe not in run.recipes:
        return None
    script = Path(job.script)
    rule = job.rule.removesuffix("_shard")
    resources = JobResources(run, rule, script.stem, read_declared(script), 1)
    return resources.size(JobOf(job.recipe, job.model or None, merges=job.merges))


def _entry(run: RunConfig, job: Asked) -> str:
    """Name the entry of `resources` that a job has: its rule's, else that of the rule whose script it runs."""
    rule, script = job.rule.removesuffix("_shard"), Path(job.script).stem
    return script if rule not in run.resources and script in run.resources else rule


def _gpus(run: RunConfig, job: Asked, size: Size) -> Iterator[Finding]:
    key = f"resources.{_entry(run, job)}.gpus"
    given = job.gpus_a_node
    of_job = f"{job.rule} of {job.recipe}"
    if size.gpus and not given:
        what = f"{of_job} would run a model of {size.weights_mb / 1000:.1f} GB without a GPU, which may take days"
        yield Finding("warning", key, what, f"Take the key out, or set it to {size.gpus}")
    elif Path(job.script).stem in TRAINING and given < size.gpus:
        launch = f"recipes.{job.recipe}.train.models.{plain_model(job.model)}.launch.processes"
        what = f"{of_job} starts {size.gpus} processes and would be given {given} GPUs: each process needs one"
        yield Finding("error", key, what, f"Take the key out, set it to {size.gpus}, or lower {launch}")
    elif given > size.gpus and size.gpus:
        what = f"{of_job} uses {size.gpus} of the {given} GPUs that it would be given"
        yield Finding("warning", key, what, f"Take the key out, or set it to {size.gpus}")
    if given and run.site.gpu_gb and size.gpu_gb > run.site.gpu_gb:
        what = f"{of_job} needs about {size.gpu_gb:g} GB on each GPU, and site.gpu_gb is {run.site.gpu_gb:g}"
        fix = f"Name larger GPUs (resources.{_entry(run, job)}.gpu_model and site.gpu_gb)"
        if Path(job.script).stem in TRAINING:
            fix += ", or lower limits.max_length, take the method qlora, or more GPUs with launch.deepspeed_stage"
        yield Finding("error", "site.gpu_gb", what, fix)


def _memory(run: RunConfig, job: Asked, size: Size, *, submits: bool) -> Iterator[Finding]:
    given = job.number("mem_mb")
    if given < size.weights_mb:
        what = f"{job.rule} of {job.recipe} would be given {given} MB, and the weights alone are {size.weights_mb} MB"
        key = f"resources.{_entry(run, job)}.mem_mb"
        fix = f"Take the key out, or set it to {size.mem_mb}"
        yield Finding("error" if submits else "warning", key, what, fix)


def _trained(run: RunConfig, jobs: Sequence[Asked]) -> Iterator[tuple[Asked, TrainedModel, Facts]]:
    """Yield the trainings of models that are not tiny."""
    for job in jobs:
        train = run.recipes[job.recipe].train if job.recipe in run.recipes else None
        facts = ModelsLoaded(run, job.recipe).base() if train else None
        if train and facts and not facts.is_small and Path(job.script).stem in TRAINING:
            yield job, train.models[plain_model(job.model)], facts


def _artifacts(run: RunConfig, jobs: Sequence[Asked]) -> Iterator[Finding]:
    """Say which checkpoints are too large for an artifact: known before the training, not at its first save."""
    for job, tuning, facts in _trained(run, jobs):
        train = run.recipe(job.recipe).train
        if train is None or train.wandb is None or tuning.method == "full":
            continue
        size = round(ZIPPED * FP32 * adapter_weights(facts, tuning))
        where = f"recipes.{job.recipe}.train.models.{plain_model(job.model)}.rank"
        if size > LIMIT:
            what = f"the adapter has about {size // MB} MB, an artifact {LIMIT // MB} MB at most: none would be made"
            yield Finding("warning", where, what, "Lower it, name fewer target_modules, or set train.wandb to null")
        elif 3 * size > LIMIT and train.wandb.resume:
            what = (
                f"a checkpoint has about {3 * size // MB} MB, an artifact {LIMIT // MB} MB at most: it would hold the "
                "adapter alone, and no training could go on from it"
            )
            yield Finding("warning", where, what, "Lower it, or set train.wandb.resume to null")


def _gated(run: RunConfig, jobs: Sequence[Asked]) -> Iterator[Finding]:
    """Say which models the hub gives only to those who accepted a licence, where there is no token."""
    if _has_token(run):
        return
    named: dict[str, str] = {}
    for recipe in dict.fromkeys(job.recipe for job in jobs if job.script.endswith("/fetch_model.py")):
        choice, facts = run.recipe(recipe).base_model, ModelsLoaded(run, recipe).base()
        if choice and choice.hub and facts and facts.gated:
            named.setdefault(choice.hub, f"recipes.{recipe}.base_model.hub")
    for job in jobs:
        asks = read_declared(Path(job.script)).asks if job.script and job.recipe in run.recipes else None
        asked = model_asked(run, job.recipe, asks) if asks in MODEL_KEYS and asks else None
        if asked and asked[1].is_own_server and ModelsLoaded(run, job.recipe).served(*asked).gated:
            named.setdefault(asked[0].model, f"recipes.{job.recipe}.{asks}")
    for hub, where in named.items():
        what = f"{hub} is gated, and HF_TOKEN is not set: the hub would refuse the download"
        yield Finding("warning", where, what, "Accept the licence on the model's page, then export HF_TOKEN=…")


def _has_token(run: RunConfig) -> bool:
    """Say whether jobs have a token of the hub: by the environment, or as a file where they look for it."""
    if os.environ.get("HF_TOKEN"):
        return True
    home = os.path.expandvars(f"{run.site.cache}/huggingface") if run.site.cache else os.environ.get("HF_HOME")
    return (Path(home or "~/.cache/huggingface").expanduser() / "token").is_file()


def _room(run: RunConfig, jobs: Sequence[Asked]) -> Iterator[Finding]:
    """Compare what models take on the disk with what is left where the results go."""
    sizes = [(job, *written_bytes(run, job)) for job in jobs if job.recipe in run.recipes]
    kept = sum(stays for _, stays, _ in sizes)
    if not kept:
        return
    wanted = kept + max(passing for _, _, passing in sizes)
    there = next(path for path in (run.results.absolute(), *run.results.absolute().parents) if path.exists())
    status = os.statvfs(there)
    free = status.f_bavail * status.f_frsize
    if free < wanted:
        largest = max(sizes, key=lambda one: one[1])
        what = (
            f"bases, checkpoints, merged models and exports take about {wanted / GB:.0f} GB, and {there} has "
            f"{free / GB:.0f} GB left; the largest part is {largest[0].rule} of {largest[0].recipe}, "
            f"{largest[1] / GB:.0f} GB"
        )
        fix = "Free space there, name another folder, lower train.keep_checkpoints, or quantize (export.quantization)"
        yield Finding("error", "results_dir", what, fix)


def written_bytes(run: RunConfig, job: Asked) -> tuple[float, float]:
    """Return the bytes that a job of a large base leaves on the disk, and those that it has there only as it works."""
    recipe = run.recipe(job.recipe)
    facts = ModelsLoaded(run, job.recipe).base()
    if facts is None or facts.is_small:
        return 0.0, 0.0
    whole = FP32 * facts.parameters
    export = recipe.export or Export(format="none")
    shipped = facts.parameters * BITS[export.quantization] / 8
    name = Path(job.script).stem
    if name in TRAINING and recipe.train is not None:
        trained = adapter_weights(facts, tuning := recipe.train.models[plain_model(job.model)])
        state = trained * (FP32_STATE if tuning.method != "full" or tuning.weights == "fp32" else FP32_STATE / 2)
        made = trained * (FP32 if tuning.method != "full" or tuning.weights == "fp32" else FP32 / 2)
        return state * (recipe.train.keep_checkpoints + 1) + made, state
    kinds: Mapping[str, tuple[float, float]] = {
        "fetch_model": (facts.stored, 0),
        "merge_adapter": (whole, 0),
        "choose_merge": (whole, whole + (shipped if export.format == "gguf" else 0)),
        "convert_gguf": (shipped, 0),
        "check_parity": (0, 0 if export.quantization == "f32" else whole),
    }
    return kinds.get(name, (0.0, 0.0))
