# What enters a rule's params: settings, digests, options; a change of one of them reruns the rule.


def settings_of(*keys):
    """Return the result settings under dotted keys, as canonical JSON: a change of theirs reruns the rule."""
    return lambda wildcards: canonical_json(CONFIG.settings_at(wildcards.recipe, *keys))


def model_settings(wildcards):
    """Return the training settings of a model; a shuffled control is trained with its model's."""
    model = f"train.models.{plain_model(wildcards.model)}"
    return canonical_json(
        CONFIG.settings_at(wildcards.recipe, model, "limits", "source.images")
    )


def image_tokens(wildcards):
    """Return how many soft tokens an image becomes before a model; baselines have those of the first model."""
    models = CONFIG.recipe(wildcards.recipe).train.models
    model = models.get(wildcards.model) or next(iter(models.values()))
    return model.prefix.image_tokens if model.prefix else 1


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


def reranker_state(wildcards):
    """Return where the training of a reranker keeps its checkpoints."""
    return f"{RESULTS}/state/{wildcards.recipe}.reranker"


def training_seed(wildcards):
    """Return the seed of a model's training."""
    return (
        CONFIG.recipe(wildcards.recipe).train.models[plain_model(wildcards.model)].seed
    )


def code_of(script):
    """Return the digest of a script and of every local module that it imports; of other rules' none is computed."""
    return lambda wildcards: code_digest(SCRIPTS / script, SCRIPTS)


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
    judge = CONFIG.recipe(wildcards.recipe).evaluate.judge
    return prompt_options("judge_answers", wildcards) if judge else ""


def querying_prompt(wildcards):
    """Return the options that name the prompt for search queries; none where the question is the query."""
    writes = CONFIG.recipe(wildcards.recipe).queries.enabled
    return prompt_options("make_queries", wildcards) if writes else ""


def prompt_options(name, wildcards):
    """Return the options that name a prompt and its digest."""
    path, digest = prompt_of(name)(wildcards), prompt_digest_of(name)(wildcards)
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
