# The original files that recipes name: their digests, and the inputs that they are.


def source_of(*keys):
    """Return a digest of the content of the original files that keys of `source` name."""
    return digest_of(
        lambda wildcards: [
            path
            for key in keys
            for path in needed_paths(CONFIG.recipe(wildcards.recipe), key)
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


def source_files(wildcards):
    """Return the files of original records; of documents their chunks, and files of questions beside them."""
    if CONFIG.recipe(wildcards.recipe).documents is None:
        return source_paths(CONFIG.recipe(wildcards.recipe), "files")
    chunks = f"{RESULTS}/{wildcards.recipe}/chunks.jsonl"
    return [chunks, *source_paths(CONFIG.recipe(wildcards.recipe), "questions")]


def held_out_originals(wildcards):
    """Return the files whose records are the test split."""
    return source_paths(CONFIG.recipe(wildcards.recipe), "held_out")


def fetched_images(name):
    """Return the function that lists a file of fetched images; nothing where none are fetched."""

    def files(wildcards):
        fetched = CONFIG.recipe(wildcards.recipe).source.fetch
        return [f"{RESULTS}/{wildcards.recipe}/{name}"] if fetched else []

    return files


def document_paths(wildcards):
    """Return the documents, and folders of documents: they are no inputs, since Snakemake looks into no folder."""
    return [
        path.as_posix()
        for path in source_paths(CONFIG.recipe(wildcards.recipe), "files")
    ]


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
    return source_paths(CONFIG.recipe(wildcards.recipe), "corpus")


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
