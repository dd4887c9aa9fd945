# The original files that recipes name: their digests, whether they are there, and the inputs that they are.


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
        f" config/recipes/{recipe}.yaml; data/README.md says where published data are to be had."
        f" Other recipes are chosen by --config 'recipes=[NAME]'"
        for recipe in CONFIG.recipes
        for key in ("files", "held_out", "corpus", "images", "questions")
        for path in originals(recipe, key)
        if key != "corpus" or recall_backend(recipe) not in (None, *ELSEWHERE)
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
    """List the files besides the original records that a recipe names."""
    previous, report = recipe.splits.previous, recipe.retrieval_report
    models = (("encoder", recipe.encoder), ("rerank.model", recipe.rerank.model))
    parts = ("encoder", "classifier") if recipe.vision else ()
    weights = {part: getattr(recipe.vision, part).checkpoint for part in parts}
    return [
        *(
            (f"vision.{part}.checkpoint", path)
            for part, path in weights.items()
            if path
        ),
        *([("splits.previous", previous)] if previous else []),
        *([("retrieval_report.qrels", report.qrels)] if report else []),
        *(
            ("retrieval_report.queries", path)
            for path in (report.queries.values() if report else ())
        ),
        *((f"{key}.path", model.path) for key, model in models if model and model.path),
        *(("folds.benchmarks", path) for path in recipe.folds.benchmarks),
        *(("label.calibration.gold", path) for path in gold_of(recipe)),
    ]


def gold_of(recipe):
    """Return the files of people's labels that a recipe's labeller is held to."""
    if recipe.label is None or recipe.label.calibration is None:
        return []
    return recipe.label.calibration.gold


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


def warn_of_memory():
    """Say before any job which settings exceed a small GPU."""
    if workflow.remote_exec:
        return
    for name, recipe in CONFIG.recipes.items():
        for warning in memory_warnings(name, recipe):
            logger.warning(warning)


def source_files(wildcards):
    """Return the files of original records; of documents their chunks, and files of questions beside them."""
    if CONFIG.recipe(wildcards.recipe).documents is None:
        return source_paths(wildcards, "files")
    chunks = f"{RESULTS}/{wildcards.recipe}/chunks.jsonl"
    return [chunks, *source_paths(wildcards, "questions")]


def held_out_originals(wildcards):
    """Return the files whose records are the test split."""
    return source_paths(wildcards, "held_out")


def fetched_images(name):
    """Return the function that lists a file of fetched images; nothing where none are fetched."""

    def files(wildcards):
        fetched = CONFIG.recipe(wildcards.recipe).source.fetch
        return [f"{RESULTS}/{wildcards.recipe}/{name}"] if fetched else []

    return files


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
    made = synthesize is not None and synthesize.kind in ("questions", "captions")
    return [f"{RESULTS}/{wildcards.recipe}/questions.jsonl"] if made else []


def vision_checkpoints(wildcards):
    """Return the files of weights that encoder and classifier are taken from; nothing where they are trained here."""
    vision = CONFIG.recipe(wildcards.recipe).vision
    named = (vision.encoder.checkpoint, vision.classifier.checkpoint)
    return [Path(path) for path in named if path]


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


def reranker_folder(wildcards):
    """Return the local folder that the training of a reranker begins from; nothing where it is fetched or made."""
    path = CONFIG.recipe(wildcards.recipe).rerank.train.path
    return [Path(path)] if path else []


def base_folder(wildcards):
    """Return the local folder of the base model; nothing where it comes from the hub."""
    path = CONFIG.recipe(wildcards.recipe).base_model.path
    return [Path(path)] if path else []
