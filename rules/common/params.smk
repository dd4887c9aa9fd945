# What enters a rule's params: settings, digests, options; a change of one of them reruns the rule.


def settings_of(*keys):
    """Return the result settings under dotted keys, as canonical JSON.

    `{model}` stands for the model of the job; a shuffled control is trained with its model's settings.
    """

    def settings(wildcards):
        model = plain_model(wildcards.get("model", ""))
        named = [key.format(model=model) for key in keys]
        return canonical_json(CONFIG.settings_at(wildcards.recipe, *named))

    return settings


def image_tokens(wildcards):
    """Return how many soft tokens an image becomes before a model; baselines have those of the first model."""
    models = CONFIG.recipe(wildcards.recipe).train.models
    model = models.get(wildcards.model) or next(iter(models.values()))
    return model.prefix.image_tokens if model.prefix else 1


def is_control(wildcards):
    """Say whether a model is a shuffled control."""
    return wildcards.model != plain_model(wildcards.model)


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
    """Return the function that digests a script and what it imports, as the run found them; for its jobs only."""
    return lambda wildcards: CODE_DIGEST(SCRIPTS / script)


@cache
def env_of(name):
    """Return the digest of an environment file, for rules whose results depend on its versions."""
    return env_digest(ROOT / "envs" / f"{name}.yaml")


def teacher_of(key):
    """Return a digest of what decides the answers of a server that the rule starts itself, beside the model reference."""

    def digest(wildcards):
        asked = model_asked(CONFIG, wildcards.recipe, key)
        if asked is None or asked[1].kind == "openai":
            return ""
        reference, endpoint = asked
        if endpoint.kind == "offline":
            return teacher_digest()
        files = served_files(CONFIG, reference, endpoint)
        return digest_of(lambda _: files)(wildcards) + settings_digest(
            endpoint.serve, reference.model
        )

    return digest
