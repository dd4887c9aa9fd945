rule ingest_records:
    """Read the original files into one validated row a record."""
    input:
        files=source_files,
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
        settings=settings_of("limit", "source.format", "source.files", "source.images"),
        source=source_of("files", "images"),
        code=code_of("ingest/ingest_records.py"),
    shell:
        "python scripts/ingest/ingest_records.py --recipe {wildcards.recipe} --files {input.files:q}"
        " --settings {params.settings:q} --source {params.source} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule make_splits:
    """Give every group of records to train, dev or test."""
    input:
        rows="<results>/{recipe}/records.jsonl",
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
        settings=settings_of("splits", "folds.names"),
        code=code_of("ingest/make_splits.py"),
    shell:
        "python scripts/ingest/make_splits.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"
