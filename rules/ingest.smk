rule read_documents:
    """Read every document of any kind into normalised text; the report accounts for every file."""
    output:
        rows="<results>/{recipe}/documents.jsonl",
        report="<results>/{recipe}/ingest_report.json",
        meta="<results>/{recipe}/documents.meta.json",
    log:
        "<logs>/{recipe}/read_documents.log",
    benchmark:
        "<benchmarks>/{recipe}/read_documents.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.documents),
    conda:
        "../envs/data.yaml"
    threads: threads_of("read_documents")
    resources:
        **resources_of("read_documents"),
    params:
        settings=settings_of(
            "documents.max_file_mb",
            "documents.seconds_per_file",
            "documents.memory_mb_per_file",
        ),
        files=document_paths,
        source=source_of("files"),
        environment=env_of("data"),
        code=code_of("ingest/read_documents.py"),
    shell:
        "python scripts/ingest/read_documents.py --recipe {wildcards.recipe} --files {params.files}"
        " --settings {params.settings:q} --source {params.source} --environment {params.environment}"
        " --processes {threads} --code {params.code}"
        " --out {output.rows:q} --report {output.report:q} --meta {output.meta:q} 2> {log:q}"


rule chunk_documents:
    """Cut the documents into chunks at headings, code blocks and sentences."""
    input:
        rows="<results>/{recipe}/documents.jsonl",
        tokenizer=tokenizer_file,
    output:
        rows="<results>/{recipe}/chunks.jsonl",
        meta="<results>/{recipe}/chunks.meta.json",
    log:
        "<logs>/{recipe}/chunk_documents.log",
    benchmark:
        "<benchmarks>/{recipe}/chunk_documents.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.documents),
    conda:
        "../envs/data.yaml"
    threads: threads_of("chunk_documents")
    resources:
        **resources_of("chunk_documents"),
    params:
        settings=settings_of(
            "documents.unit",
            "documents.chunk_size",
            "documents.overlap",
            "documents.tokenizer",
        ),
        code=code_of("ingest/chunk_documents.py"),
    shell:
        "python scripts/ingest/chunk_documents.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule fetch_images:
    """Fetch the images that records name by address or hold themselves, and check all of them."""
    input:
        files=source_files,
    output:
        rows="<results>/{recipe}/images.jsonl",
        failed="<results>/{recipe}/images.failed.jsonl",
        meta="<results>/{recipe}/images.meta.json",
    log:
        "<logs>/{recipe}/fetch_images.log",
    benchmark:
        "<benchmarks>/{recipe}/fetch_images.jsonl"
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.source.fetch),
    retries: retries_of("fetch_images")
    conda:
        "../envs/data.yaml"
    threads: threads_of("fetch_images")
    resources:
        **resources_of("fetch_images"),
    params:
        settings=settings_of("source.fetch", "source.images"),
        source=source_of("files", "images"),
        environment=env_of("data"),
        code=code_of("ingest/fetch_images.py"),
    shell:
        "python scripts/ingest/fetch_images.py --recipe {wildcards.recipe} --files {input.files:q}"
        " --settings {params.settings:q} --source {params.source} --environment {params.environment}"
        " --code {params.code} --out {output.rows:q} --failed {output.failed:q} --meta {output.meta:q} 2> {log:q}"


rule ingest_records:
    """Read the original files into one validated row a record."""
    input:
        files=source_files,
        held_out=held_out_originals,
        fetched=fetched_images("images.jsonl"),
        failed=fetched_images("images.failed.jsonl"),
    output:
        rows="<results>/{recipe}/records.jsonl",
        meta="<results>/{recipe}/records.meta.json",
    log:
        "<logs>/{recipe}/ingest_records.log",
    benchmark:
        "<benchmarks>/{recipe}/ingest_records.jsonl"
    retries: retries_of("ingest_records")
    conda:
        "../envs/data.yaml"
    threads: threads_of("ingest_records")
    resources:
        **resources_of("ingest_records"),
    params:
        settings=settings_of(
            "limit",
            "source.format",
            "source.files",
            "source.images",
            "source.fetch",
            "source.questions",
            "source.held_out",
        ),
        source=source_of("files", "images", "questions", "held_out"),
        code=code_of("ingest/ingest_records.py"),
    shell:
        "python scripts/ingest/ingest_records.py --recipe {wildcards.recipe} --files {input.files:q}"
        " --held-out {input.held_out:q}"
        " --settings {params.settings:q} --source {params.source} --code {params.code}"
        " --fetched {input.fetched:q} --failed {input.failed:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule make_splits:
    """Give every group of records to train, dev or test."""
    input:
        rows="<results>/{recipe}/records.jsonl",
        previous=previous_splits,
    output:
        rows="<results>/{recipe}/splits.jsonl",
        meta="<results>/{recipe}/splits.meta.json",
    log:
        "<logs>/{recipe}/make_splits.log",
    benchmark:
        "<benchmarks>/{recipe}/make_splits.jsonl"
    retries: retries_of("make_splits")
    conda:
        "../envs/data.yaml"
    threads: threads_of("make_splits")
    resources:
        **resources_of("make_splits"),
    params:
        settings=settings_of("splits", "folds.names", "limit"),
        source=digest_of(previous_splits),
        code=code_of("ingest/make_splits.py"),
    shell:
        "python scripts/ingest/make_splits.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --previous {input.previous:q} --settings {params.settings:q} --source {params.source} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"
