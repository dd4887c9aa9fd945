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
        recipe=recipes_with_corpus(),
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


rule index_words:
    """Count the words of a share of the passages: what BM25 and TF-IDF search."""
    input:
        passages="<results>/{recipe}/passages.jsonl",
    output:
        manifest="<results>/{recipe}/index/words/{shard}-of-{shards}/manifest.json",
        meta="<results>/{recipe}/index/words/{shard}-of-{shards}.meta.json",
    log:
        "<logs>/{recipe}/index_words.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/index_words.{shard}-of-{shards}.jsonl"
    wildcard_constraints:
        recipe=recipes_with_corpus(),
    retries: retries_of("index_words")
    conda:
        "../envs/data.yaml"
    threads: threads_of("index_words")
    resources:
        **resources_of("index_words"),
    params:
        environment=env_of("data"),
        code=code_of("recall/index_words.py"),
    shell:
        "python scripts/recall/index_words.py --recipe {wildcards.recipe} --passages {input.passages:q}"
        " --shard {wildcards.shard}/{wildcards.shards} --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --meta {output.meta:q} 2> {log:q}"


rule fetch_encoder:
    """Download the bi-encoder at its revision; the jobs that use it then need no internet."""
    output:
        manifest="<results>/{recipe}/encoder/manifest.json",
        meta="<results>/{recipe}/encoder.meta.json",
    log:
        "<logs>/{recipe}/fetch_encoder.log",
    benchmark:
        "<benchmarks>/{recipe}/fetch_encoder.jsonl"
    retries: retries_of("fetch_encoder")
    conda:
        "../envs/dense.yaml"
    threads: threads_of("fetch_encoder")
    resources:
        **resources_of("fetch_encoder"),
    params:
        section="encoder",
        settings=settings_of("encoder.hub", "encoder.revision"),
        code=code_of("recall/fetch_encoder.py"),
    shell:
        "python scripts/recall/fetch_encoder.py --recipe {wildcards.recipe} --section {params.section}"
        " --settings {params.settings:q} --code {params.code}"
        " --manifest {output.manifest:q} --meta {output.meta:q} 2> {log:q}"


use rule fetch_encoder as fetch_reranker with:
    output:
        manifest="<results>/{recipe}/reranker_base/manifest.json",
        meta="<results>/{recipe}/reranker_base.meta.json",
    log:
        "<logs>/{recipe}/fetch_reranker.log",
    benchmark:
        "<benchmarks>/{recipe}/fetch_reranker.jsonl"
    params:
        section="rerank.train",
        settings=settings_of("rerank.train.hub", "rerank.train.revision"),
        code=code_of("recall/fetch_encoder.py"),


rule index_vectors:
    """Encode a share of the passages by a bi-encoder: what dense retrieval searches."""
    input:
        passages="<results>/{recipe}/passages.jsonl",
        encoder=fetched_encoder(recalling, reporting),
    output:
        manifest="<results>/{recipe}/index/vectors/{shard}-of-{shards}/manifest.json",
        meta="<results>/{recipe}/index/vectors/{shard}-of-{shards}.meta.json",
    log:
        "<logs>/{recipe}/index_vectors.{shard}-of-{shards}.log",
    benchmark:
        "<benchmarks>/{recipe}/index_vectors.{shard}-of-{shards}.jsonl"
    wildcard_constraints:
        recipe=recipes_with_corpus(),
    retries: retries_of("index_vectors")
    conda:
        "../envs/dense.yaml"
    threads: threads_of("index_vectors")
    resources:
        **resources_of("index_vectors"),
    params:
        settings=settings_of("encoder"),
        source=digest_of(encoder_files),
        environment=env_of("dense"),
        code=code_of("recall/index_vectors.py"),
    shell:
        "python scripts/recall/index_vectors.py --recipe {wildcards.recipe} --passages {input.passages:q}"
        " --encoder {input.encoder:q} --shard {wildcards.shard}/{wildcards.shards}"
        " --settings {params.settings:q} --source {params.source}"
        " --environment {params.environment} --code {params.code}"
        " --manifest {output.manifest:q} --meta {output.meta:q} 2> {log:q}"


rule make_queries:
    """Write the search queries of each question, from the user's turns only."""
    input:
        rows="<results>/{recipe}/records.jsonl",
        splits=taught_splits,
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
        " --splits {input.splits:q}"
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
    """Find the candidate passages of each question in the indexes of the corpus."""
    input:
        rows="<results>/{recipe}/queries.jsonl",
        words=index_manifests("words", recalling),
        vectors=index_manifests("vectors", recalling),
        encoder=fetched_encoder(recalling),
    output:
        rows="<results>/{recipe}/recall.jsonl",
        meta="<results>/{recipe}/recall.meta.json",
    log:
        "<logs>/{recipe}/recall_passages.log",
    benchmark:
        "<benchmarks>/{recipe}/recall_passages.jsonl"
    wildcard_constraints:
        recipe=recipes_recalling("bm25", "tfidf"),
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
        " --words {input.words:q} --vectors {input.vectors:q} --encoder {input.encoder:q} --threads {threads}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --meta {output.meta:q} 2> {log:q}"


use rule recall_passages as recall_by_meaning with:
    log:
        "<logs>/{recipe}/recall_by_meaning.log",
    benchmark:
        "<benchmarks>/{recipe}/recall_by_meaning.jsonl"
    wildcard_constraints:
        recipe=recipes_recalling("dense", "hybrid"),
    conda:
        "../envs/dense.yaml"
    params:
        settings=settings_of("recall", "encoder"),
        environment=env_of("dense"),
        code=code_of("recall/recall_passages.py"),


rule search_mock:
    """Find the candidate passages of each question with the benchmark's own search."""
    input:
        rows="<results>/{recipe}/queries.jsonl",
    output:
        rows="<results>/{recipe}/recall.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        meta="<results>/{recipe}/recall.meta.json",
    log:
        "<logs>/{recipe}/search_mock.log",
    benchmark:
        "<benchmarks>/{recipe}/search_mock.jsonl"
    wildcard_constraints:
        recipe=recipes_recalling("cragmm"),
    retries: retries_of("search_mock")
    conda:
        "../envs/dense.yaml"
    threads: threads_of("search_mock")
    resources:
        **resources_of("search_mock"),
    params:
        settings=settings_of("recall"),
        environment=env_of("dense"),
        code=code_of("recall/search_mock.py"),
    shell:
        "python scripts/recall/search_mock.py --recipe {wildcards.recipe} --rows {input.rows:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --passages {output.passages:q} --meta {output.meta:q} 2> {log:q}"


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
        recipe=recipes_reranking("tfidf"),
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
        recipe=recipes_reranking("trained"),
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
        words=index_manifests("words", fusing),
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
        recipe=recipes_reranking("trained"),
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
        " --scores {input.scores:q} --passages {input.passages:q} --words {input.words:q} --splits {input.splits:q}"
        " --settings {params.settings:q} --environment {params.environment} --code {params.code}"
        " --out {output.rows:q} --weights {output.weights:q} --meta {output.meta:q} 2> {log:q}"


use rule rerank_passages as rerank_by_reading with:
    log:
        "<logs>/{recipe}/rerank_by_reading.log",
    benchmark:
        "<benchmarks>/{recipe}/rerank_by_reading.jsonl"
    wildcard_constraints:
        recipe=recipes_reranking("cross_encoder"),
    conda:
        "../envs/dense.yaml"
    params:
        settings=settings_of("rerank"),
        source=digest_of(scorer_files),
        environment=env_of("dense"),
        code=code_of("recall/rerank_passages.py"),


rule evaluate_retrieval:
    """Measure backends of retrieval against relevance judgements."""
    input:
        qrels=qrels_file,
        queries=judged_query_files,
        words=index_manifests("words", reporting),
        vectors=index_manifests("vectors", reporting),
        encoder=fetched_encoder(reporting),
    output:
        report="<results>/{recipe}/metrics/retrieval.json",
        meta="<results>/{recipe}/metrics/retrieval.meta.json",
    log:
        "<logs>/{recipe}/evaluate_retrieval.log",
    benchmark:
        "<benchmarks>/{recipe}/evaluate_retrieval.jsonl"
    wildcard_constraints:
        recipe=recipes_reporting(dense=False),
    retries: retries_of("evaluate_retrieval")
    conda:
        "../envs/data.yaml"
    threads: threads_of("evaluate_retrieval")
    resources:
        **resources_of("evaluate_retrieval"),
    params:
        settings=settings_of("retrieval_report", "recall"),
        source=digest_of(judgement_files),
        environment=env_of("data"),
        code=code_of("recall/evaluate_retrieval.py"),
    shell:
        "python scripts/recall/evaluate_retrieval.py --recipe {wildcards.recipe} --qrels {input.qrels:q}"
        " --queries {input.queries:q} --words {input.words:q} --vectors {input.vectors:q}"
        " --encoder {input.encoder:q} --threads {threads}"
        " --settings {params.settings:q} --source {params.source} --environment {params.environment}"
        " --code {params.code} --out {output.report:q} --meta {output.meta:q} 2> {log:q}"


use rule evaluate_retrieval as evaluate_dense_retrieval with:
    wildcard_constraints:
        recipe=recipes_reporting(dense=True),
    conda:
        "../envs/dense.yaml"
    params:
        settings=settings_of("retrieval_report", "recall", "encoder"),
        source=digest_of(judgement_files),
        environment=env_of("dense"),
        code=code_of("recall/evaluate_retrieval.py"),


rule plot_retrieval:
    """Draw the scores of the backends of retrieval."""
    input:
        report="<results>/{recipe}/metrics/retrieval.json",
    output:
        picture="<results>/{recipe}/plots/retrieval.svg",
        meta="<results>/{recipe}/plots/retrieval.meta.json",
    log:
        "<logs>/{recipe}/plot_retrieval.log",
    benchmark:
        "<benchmarks>/{recipe}/plot_retrieval.jsonl"
    retries: retries_of("plot_retrieval")
    conda:
        "../envs/plots.yaml"
    threads: threads_of("plot_retrieval")
    resources:
        **resources_of("plot_retrieval"),
    params:
        environment=env_of("plots"),
        code=code_of("recall/plot_retrieval.py"),
    shell:
        "python scripts/recall/plot_retrieval.py --recipe {wildcards.recipe} --report {input.report:q}"
        " --title '{wildcards.recipe}: retrieval' --environment {params.environment} --code {params.code}"
        " --picture {output.picture:q} --meta {output.meta:q} 2> {log:q}"
