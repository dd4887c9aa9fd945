rule load_passages:
    """Read the corpus into one validated row a passage."""
    input:
        files=corpus_files,
    output:
        rows="<results>/{recipe}/passages.jsonl",
        meta="<results>/{recipe}/passages.meta.json",
    log:
        "<logs>/{recipe}/load_passages.log",
    benchmark:
        "<benchmarks>/{recipe}/load_passages.jsonl"
    wildcard_constraints:
        recipe=recipes_recalling("bm25"),
    retries: retries_of("load_passages")
    conda:
        "../envs/data.yaml"
    threads: threads_of("load_passages")
    resources:
        **resources_of("load_passages"),
    params:
        settings=settings_of("recall.chunk_tokens"),
        source=source_of("corpus"),
        code=code_of("recall/load_passages.py"),
    shell:
        "python scripts/recall/load_passages.py --recipe {wildcards.recipe} --files {input.files:q}"
        " --settings {params.settings:q} --source {params.source} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule make_queries:
    """Write the search queries of each question, from the user's turns only."""
    input:
        rows="<results>/{recipe}/records.jsonl",
        shards=shard_files("queries", "queries"),
        served=served_model("queries.model"),
    output:
        rows="<results>/{recipe}/queries.jsonl",
        meta="<results>/{recipe}/queries.meta.json",
    log:
        "<logs>/{recipe}/make_queries.log",
    benchmark:
        "<benchmarks>/{recipe}/make_queries.jsonl"
    wildcard_constraints:
        recipe=recipes_with("recall"),
    retries: retries_of("make_queries")
    conda:
        "../envs/data.yaml"
    threads: threads_of("make_queries")
    resources:
        **resources_of("make_queries", asks="queries.model"),
    params:
        settings=settings_of("queries", "source.images"),
        prompt=querying_prompt,
        teacher=teacher_of("queries.model"),
        code=code_of("recall/make_queries.py"),
        shard=shard_option,
    shell:
        "python scripts/recall/make_queries.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} {params.prompt}"
        " --shares {resources.llm} --code {params.code} {params.shard} --shards {input.shards:q}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule make_queries as make_queries_shard with:
    output:
        rows=temp("<results>/{recipe}/shards/queries/{shard}-of-{shards}.jsonl"),
        meta=temp("<results>/{recipe}/shards/queries/{shard}-of-{shards}.meta.json"),
    log:
        "<logs>/{recipe}/make_queries.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/make_queries.{shard}-of-{shards}.jsonl"


rule recall_passages:
    """Find the candidate passages of each question."""
    input:
        rows="<results>/{recipe}/queries.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/recall.jsonl",
        meta="<results>/{recipe}/recall.meta.json",
    log:
        "<logs>/{recipe}/recall_passages.log",
    benchmark:
        "<benchmarks>/{recipe}/recall_passages.jsonl"
    wildcard_constraints:
        recipe=recipes_recalling("bm25"),
    retries: retries_of("recall_passages")
    conda:
        "../envs/data.yaml"
    threads: threads_of("recall_passages")
    resources:
        **resources_of("recall_passages"),
    params:
        settings=settings_of("recall"),
        environment=env_of("data"),
        code=code_of("recall/recall_passages.py"),
    shell:
        "python scripts/recall/recall_passages.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --passages {input.passages:q} --settings {params.settings:q} --environment {params.environment}"
        " --code {params.code} --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule search_passages:
    """Find the candidate passages of each question with a search service, and read them."""
    input:
        rows="<results>/{recipe}/queries.jsonl",
    output:
        rows="<results>/{recipe}/recall.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        meta="<results>/{recipe}/recall.meta.json",
    log:
        "<logs>/{recipe}/search_passages.log",
    benchmark:
        "<benchmarks>/{recipe}/search_passages.jsonl"
    wildcard_constraints:
        recipe=recipes_recalling("http"),
    retries: retries_of("search_passages")
    conda:
        "../envs/data.yaml"
    threads: threads_of("search_passages")
    resources:
        **resources_of("search_passages", searches=True),
    params:
        settings=settings_of("recall"),
        environment=env_of("data"),
        code=code_of("recall/search_passages.py"),
    shell:
        "python scripts/recall/search_passages.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --environment {params.environment}"
        " --shares {resources.llm} --code {params.code}"
        " --out {output.rows:q} --passages {output.passages:q} --meta {output.meta:q} 2> {log:q}"


rule rerank_passages:
    """Keep the best chunks of the candidate passages."""
    input:
        rows="<results>/{recipe}/recall.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/reranked.jsonl",
        meta="<results>/{recipe}/reranked.meta.json",
    log:
        "<logs>/{recipe}/rerank_passages.log",
    benchmark:
        "<benchmarks>/{recipe}/rerank_passages.jsonl"
    wildcard_constraints:
        recipe=recipes_reranking(trained=False),
    retries: retries_of("rerank_passages")
    conda:
        "../envs/data.yaml"
    threads: threads_of("rerank_passages")
    resources:
        **resources_of("rerank_passages"),
    params:
        settings=settings_of("rerank"),
        environment=env_of("data"),
        code=code_of("recall/rerank_passages.py"),
    shell:
        "python scripts/recall/rerank_passages.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --passages {input.passages:q} --settings {params.settings:q} --environment {params.environment}"
        " --code {params.code} --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule score_candidates:
    """Score every candidate with the trained cross-encoder, out of fold for train questions."""
    input:
        rows="<results>/{recipe}/recall.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
        reranker="<results>/{recipe}/reranker/manifest.json",
    output:
        rows="<results>/{recipe}/pair_scores.jsonl",
        meta="<results>/{recipe}/pair_scores.meta.json",
    log:
        "<logs>/{recipe}/score_candidates.log",
    benchmark:
        "<benchmarks>/{recipe}/score_candidates.jsonl"
    wildcard_constraints:
        recipe=recipes_reranking(trained=True),
    conda:
        "../envs/dense.yaml"
    threads: threads_of("score_candidates")
    resources:
        **resources_of("score_candidates"),
    params:
        settings=settings_of("rerank"),
        environment=env_of("dense"),
        code=code_of("recall/score_candidates.py"),
    shell:
        "python scripts/recall/score_candidates.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --passages {input.passages:q} --splits {input.splits:q} --reranker {input.reranker:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


rule rank_candidates:
    """Fuse the cross-encoder with lexical and bridge features, and keep the best passages."""
    input:
        rows="<results>/{recipe}/recall.jsonl",
        scores="<results>/{recipe}/pair_scores.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        splits="<results>/{recipe}/splits.jsonl",
    output:
        rows="<results>/{recipe}/reranked.jsonl",
        weights="<results>/{recipe}/fusion.json",
        meta="<results>/{recipe}/reranked.meta.json",
    log:
        "<logs>/{recipe}/rank_candidates.log",
    benchmark:
        "<benchmarks>/{recipe}/rank_candidates.jsonl"
    wildcard_constraints:
        recipe=recipes_reranking(trained=True),
    conda:
        "../envs/data.yaml"
    threads: threads_of("rank_candidates")
    resources:
        **resources_of("rank_candidates"),
    params:
        settings=settings_of("rerank", "recall.k1", "recall.b", "recall.top_k"),
        environment=env_of("data"),
        code=code_of("recall/rank_candidates.py"),
    shell:
        "python scripts/recall/rank_candidates.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --scores {input.scores:q} --passages {input.passages:q} --splits {input.splits:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --weights {output.weights:q} --meta {output.meta:q} 2> {log:q}"
