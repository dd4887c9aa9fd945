# What a rule's job asks of the machine or the cluster.


def gpus_for(rule, recipe, key):
    """Return the GPUs of a rule's job: those of its entry in `resources`, else those of the server that it starts."""
    entry = CONFIG.resources.get(rule)
    if entry is not None and entry.gpus is not None:
        return entry.gpus
    _, endpoint = model_asked(recipe, key)
    return max(CONFIG.resources_for(rule)["gpus"], endpoint.gpus if endpoint else 0)


def nodes_of(wildcards):
    """Return how many nodes a model is trained on."""
    model = plain_model(wildcards.model)
    return CONFIG.recipe(wildcards.recipe).train.models[model].launch.nodes


def several_nodes():
    """Tell whether any model is trained on more nodes than one."""
    trained = (
        recipe.train.models for recipe in CONFIG.recipes.values() if recipe.train
    )
    return any(
        model.launch.nodes > 1 for models in trained for model in models.values()
    )


def resources_of(rule, asks=None, searches=False, spreads=False):
    """Return a rule's resources, threads aside, as the executor knows them.

    `asks` is the key of the model reference of a rule that asks a model; `searches` is true of one that asks the
    recipe's search service; `spreads` of one that may run on several nodes, each with what the rule asks for.
    """
    if spreads and several_nodes():
        return spread_resources(resources_of(rule), CONFIG.resources_for(rule))
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


def spread_resources(named, asked):
    """Return resources of jobs that may have several nodes, with one task a node, which starts the processes."""

    def alone(name):
        given = named.get(name)
        if not callable(given):
            return lambda wildcards: given if nodes_of(wildcards) == 1 else None
        return lambda wildcards, input: (
            given(wildcards, input) if nodes_of(wildcards) == 1 else None
        )

    def nodes(wildcards):
        return nodes_of(wildcards) if nodes_of(wildcards) > 1 else None

    def extra(wildcards):
        options = slurm_options(asked, asked["gpus"])
        words = [options["slurm_extra"]] if "slurm_extra" in options else []
        if nodes(wildcards):
            # `gpu` would be the GPUs of all nodes together, however they are spread.
            kind = f"{asked['gpu_model']}:" if asked.get("gpu_model") else ""
            gpus = asked["gpus"]
            words += ["--ntasks-per-node=1"]
            words += [f"--gpus-per-node={kind}{gpus}"] if gpus else []
        return " ".join(words) or None

    spread = {"nodes": nodes, "tasks": nodes, "slurm_extra": extra}
    return (
        named
        | spread
        | {name: alone(name) for name in ("gpu", "gpu_model") if name in named}
    )


# Rules that ask a model, with the key of its reference.
ASKING = {}
# Rules that need the internet for something else.
ONLINE = {
    "search_passages",
    "fetch_model",
    "fetch_encoder",
    "fetch_reranker",
    "fetch_images",
}


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
    """Return how often a failed job is tried again; None leaves it to the profile, since a local run has none.

    Only who submits a job tries again: the workflow inside of it would multiply the attempts, with the same memory.
    """
    return 0 if workflow.remote_exec else CONFIG.resources_for(rule).get("retries")


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
