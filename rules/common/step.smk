# What a job needs beside its files. A rule names its files and its script; the rest follows from the rule's name and
# from what the script declares (finetrail/workflow/declared.py).

import shlex
from dataclasses import replace

from finetrail.workflow.declared import read_declared
from snakemake.resources import Resources

# Each param is some words of the command, so all that decides a result stands in it. Snakemake compares params with
# those of the last run, but for those made of input, output, threads or resources.
STEP = "python {params} 2> {log:q} 1>&2"
# What a rule may say instead of its script.
CHANGES = ("settings", "asks", "environment")
# Inputs that only order jobs, or are read by their place in the settings.
UNTOLD = ("served", "tokenizer")
# Options that are a wildcard of the output's path.
WILDCARD_OPTIONS = ("fold", "model", "template", "threshold", "family")


class Script(str):
    """The first word of a command, and what the script declares."""

    def __new__(cls, path, declared):
        script = super().__new__(cls, path)
        script.declared = declared
        return script


def of(script, prompt=None, **given):
    """Return the params of a rule: its command line, in words.

    `settings`, `asks` and `environment` replace what the script declares. `prompt` is a function that names the prompt,
    where there are several. Whatever else is given becomes an option: True stands for one without a value, a function
    gets the wildcards. An empty text leaves the option out; an empty list of files leaves it without a value.
    """
    declared = read_declared(SCRIPTS / script)
    changed = {name: given.pop(name) for name in CHANGES if name in given}
    if isinstance(changed.get("settings"), str) or (prompt and not declared.asks):
        raise WorkflowError(
            f"of({script!r}): settings is a tuple, and a prompt is for a script with ASKS"
        )
    declared = replace(declared, **changed)
    words = {
        "script": Script(f"scripts/{script}", declared),
        "recipe": "--recipe {recipe}",
        "paths": file_words(declared),
        "code": option("code", code_of(script)),
    }
    keys = [*declared.settings, *([declared.asks] if declared.asks else [])]
    if keys:
        words["settings"] = option("settings", settings_of(*keys))
    if declared.asks:
        words["prompt"] = prompt_words(prompt or declared.prompt, declared.asks)
        words["teacher"] = option("teacher", teacher_of(declared.asks))
        if "asks" in declared.options:
            words["asks"] = option("asks", declared.asks)
    if declared.environment:
        words["environment"] = option("environment", env_of(declared.environment))
    for name in WILDCARD_OPTIONS:
        if name in declared.options and name not in given:
            words[name] = option(name, f"{{{name}}}", quoted=False)
    words |= {name: option(name, value) for name, value in given.items()}
    return words | words_of_the_job(declared)


def option(name, value, quoted=True):
    """Return an option with its value, or the function that makes it of the wildcards; nothing of an empty text."""
    if callable(value):
        return lambda wildcards: option(name, value(wildcards), quoted)
    if value in ("", None, False):
        return ""
    flag = f"--{name.replace('_', '-')}"
    values = [] if value is True else value if isinstance(value, list) else [value]
    return " ".join(
        [flag, *(shlex.quote(str(one)) if quoted else str(one) for one in values)]
    )


def file_words(declared):
    """Return the function that lays out a job's files as the arguments that the script declares.

    The output that has no argument of its own is `--out`.
    """

    def words(wildcards, input, output):
        given = [(name, input.get(name)) for name in input.keys()]
        given = [(name, files) for name, files in given if name in declared.inputs]
        made = [(name, output.get(name)) for name in output.keys()]
        told = (*declared.outputs, "meta")
        given += [(name if name in told else "out", files) for name, files in made]
        return " ".join(
            option(name, [files] if isinstance(files, str) else list(files))
            for name, files in given
        )

    return words


def prompt_words(named, asks):
    """Return the function that names the prompt and its digest; nothing where the recipe asks no model."""

    def words(wildcards):
        if model_asked(CONFIG, wildcards.recipe, asks) is None:
            return ""
        path = CONFIG.prompt_path(
            wildcards.recipe, named(wildcards) if callable(named) else named
        )
        digest = read_prompt(ROOT / path).digest
        return f"--prompt {shlex.quote(path.as_posix())} --prompt-digest {digest}"

    return words


def words_of_the_job(declared):
    """Return the words that say how a job works, not what comes out: threads, shares, shards."""
    words = {
        name: (
            lambda wildcards, threads, name=name: (
                f"--{name} {threads() if callable(threads) else threads}"
            )
        )
        for name in ("threads", "processes")
        if name in declared.options
    }
    if "shares" in declared.options:
        words["shares"] = lambda wildcards, resources: f"--shares {resources.llm}"
    if "shard" in declared.options:
        words["shard"] = lambda wildcards: (
            f"--shard {wildcards.shard}/{wildcards.shards}"
            if "shard" in wildcards.keys()
            else ""
        )
    return words


def asking(key, shards=None):
    """Return what a step that asks a model reads besides: what its shards wrote, and models made here to be served."""
    section, _, _ = key.partition(".")

    def served(wildcards):
        return served_manifests(CONFIG, wildcards.recipe, key)

    served.key = key
    return {"shards": shard_files(section, shards) if shards else [], "served": served}


def shard_of(step):
    """Return the outputs of a rule that works on a shard of a step; they are gone when the shards are merged."""
    place = f"<results>/{{recipe}}/shards/{step}/{{shard}}-of-{{shards}}"
    return {"rows": temp(f"{place}.jsonl"), "meta": temp(f"{place}.meta.json")}


def shard_files(phase, step):
    """Return the function that lists what the shards of a step write, for the job that merges them."""

    def files(wildcards):
        section = getattr(CONFIG.recipe(wildcards.recipe), phase)
        if "shard" in wildcards.keys() or section is None or section.shards == 1:
            return []
        folder = f"{RESULTS}/{wildcards.recipe}/shards/{step.format(**wildcards)}"
        return [
            f"{folder}/{number}-of-{section.shards}.{end}"
            for number in range(1, section.shards + 1)
            for end in ("jsonl", "meta.json")
        ]

    return files


def steps():
    """List the rules that run a script."""
    return [rule for rule in workflow.rules if rule.shellcmd == STEP]


def base_name(rule):
    """Return the name under which a rule's resources are configured: a shard's are those of its rule."""
    return rule.name.removesuffix("_shard")


def check_files(step):
    """Refuse a file that the script would not be told of: a default of its own would take its place."""
    declared = step.params.script.declared
    untold = {*step.input.keys()} - {*declared.inputs, *UNTOLD}
    made = [
        name for name in step.output.keys() if name not in (*declared.outputs, "meta")
    ]
    if untold or len(made) > 1:
        raise WorkflowError(
            f"{step.name}: {step.params.script} has no argument for {', '.join(sorted(untold) or made)}"
        )


def equip_rules():
    """Set log, benchmark, threads, resources and retries of every step; they follow from the name."""
    settings = workflow.resource_settings
    for step in steps():
        check_files(step)
        name = base_name(step)
        wildcards = re.findall(r"\{(\w+)", str(step.output[0]))
        parts = [
            f"{{{part}}}"
            for part in dict.fromkeys(wildcards)
            if part not in ("recipe", "shard", "shards")
        ]
        parts += ["{shard}-of-{shards}"] if "shard" in wildcards else []
        place = f"{{recipe}}/{'.'.join([name, *parts])}"
        step.log_modifier = step.benchmark_modifier = step.output_modifier
        step.set_log(f"{LOGS}/{place}.log")
        step.benchmark = f"{BENCHMARKS}/{place}.jsonl"
        step.restart_times = retries_of(step)
        asked = Resources.from_mapping(executor_resources(step))
        step.resources.update(asked)
        step.resources["_cores"] = of_job(job_resources(step).threads)
        # What the command line says stands above the configuration.
        step.resources.update(settings._parsed_overwrite_resources.get(step.name, {}))
        if threads := settings._parsed_overwrite_threads.get(step.name):
            step.resources["_cores"] = threads
