# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
rule read_documents:
    """Read every document of any kind into normalised text; the report accounts for every file."""
    output:
        rows="<results>/{recipe}/documents.jsonl",
        report="<results>/{recipe}/ingest_report.json",
        meta="<results>/{recipe}/documents.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.documents),
    conda:
        "../envs/data.yaml"
    params:
        **of(
            "ingest/read_documents.py", files=document_paths, source=source_of("files")
        ),
    shell:
        STEP


rule chunk_documents:
    """Cut the documents into chunks at headings, code blocks and sentences."""
    input:
        rows="<results>/{recipe}/documents.jsonl",
        tokenizer=tokenizer_file,
    output:
        rows="<results>/{recipe}/chunks.jsonl",
        meta="<results>/{recipe}/chunks.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.documents),
    conda:
        "../envs/data.yaml"
    params:
        **of("ingest/chunk_documents.py"),
    shell:
        STEP


rule fetch_images:
    """Fetch the images that records name by address or hold themselves, and check all of them."""
    input:
        files=source_files,
    output:
        rows="<results>/{recipe}/images.jsonl",
        failed="<results>/{recipe}/images.failed.jsonl",
        meta="<results>/{recipe}/images.meta.json",
    wildcard_constraints:
        recipe=recipes_where(lambda recipe: recipe.source.fetch),
    conda:
        "../envs/data.yaml"
    params:
        **of("ingest/fetch_images.py", source=source_of("files", "images")),
    shell:
        STEP


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
    conda:
        "../envs/data.yaml"
    params:
        **of(
            "ingest/ingest_records.py",
            source=source_of("files", "images", "questions", "held_out"),
        ),
    shell:
        STEP


rule make_splits:
    """Give every group of records to train, dev or test."""
    input:
        rows="<results>/{recipe}/records.jsonl",
        previous=previous_splits,
    output:
        rows="<results>/{recipe}/splits.jsonl",
        meta="<results>/{recipe}/splits.meta.json",
    conda:
        "../envs/data.yaml"
    params:
        **of("ingest/make_splits.py", source=digest_of(previous_splits)),
    shell:
        STEP
