rule label_relevance:
    """Judge each reranked passage against its question, one call a passage; train records only."""
    input:
        rows="<results>/{recipe}/reranked.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        shards=shard_files("label", "pointwise_labeled"),
        served=served_model("label.model"),
    output:
        rows="<results>/{recipe}/pointwise_labeled.jsonl",
        meta="<results>/{recipe}/pointwise_labeled.meta.json",
    log:
        "<logs>/{recipe}/label_relevance.log",
    benchmark:
        "<benchmarks>/{recipe}/label_relevance.jsonl"
    wildcard_constraints:
        recipe=recipes_with("label"),
    retries: retries_of("label_relevance")
    conda:
        "../envs/data.yaml"
    threads: threads_of("label_relevance")
    resources:
        **resources_of("label_relevance", asks="label.model"),
    params:
        settings=settings_of("label"),
        prompt=prompt_of("label_relevance"),
        digest=prompt_digest_of("label_relevance"),
        teacher=teacher_of("label.model"),
        code=code_of("label/label_relevance.py"),
        shard=shard_option,
    shell:
        "python scripts/label/label_relevance.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --splits {input.splits:q} --passages {input.passages:q}"
        " --settings {params.settings:q} --prompt {params.prompt:q} --prompt-digest {params.digest}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule label_relevance as label_relevance_shard with:
    output:
        rows=temp(
            "<results>/{recipe}/shards/pointwise_labeled/{shard}-of-{shards}.jsonl"
        ),
        meta=temp(
            "<results>/{recipe}/shards/pointwise_labeled/{shard}-of-{shards}.meta.json"
        ),
    log:
        "<logs>/{recipe}/label_relevance.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/label_relevance.{shard}-of-{shards}.jsonl"
