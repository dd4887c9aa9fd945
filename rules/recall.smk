# A rule's command, log, resources and retries follow from its script and its name: common/step.smk.
rule load_passages:
    """Read the corpus into one validated row a passage."""
    input:
        files=corpus_files,
    output:
        rows="<results>/{recipe}/passages.jsonl",
        meta="<results>/{recipe}/passages.meta.json",
    wildcard_constraints:
        recipe=recipes_with_corpus(),
    conda:
        "../envs/data.yaml"
    params:
        **of("recall/load_passages.py", source=source_of("corpus")),
    shell:
        STEP


rule index_words:
    """Count the words of a share of the passages: what BM25 and TF-IDF search."""
    input:
        passages="<results>/{recipe}/passages.jsonl",
    output:
        manifest="<results>/{recipe}/index/words/{shard}-of-{shards}/manifest.json",
        meta="<results>/{recipe}/index/words/{shard}-of-{shards}.meta.json",
    wildcard_constraints:
        recipe=recipes_with_corpus(),
    conda:
        "../envs/data.yaml"
    params:
        **of("recall/index_words.py"),
    shell:
        STEP


rule fetch_encoder:
    """Download the bi-encoder at its revision; the jobs that use it then need no internet."""
    output:
        manifest="<results>/{recipe}/encoder/manifest.json",
        meta="<results>/{recipe}/encoder.meta.json",
    conda:
        "../envs/dense.yaml"
    params:
        **of("recall/fetch_encoder.py", section="encoder"),
    shell:
        STEP


use rule fetch_encoder as fetch_reranker with:
    output:
        manifest="<results>/{recipe}/reranker_base/manifest.json",
        meta="<results>/{recipe}/reranker_base.meta.json",
    params:
        **of(
            "recall/fetch_encoder.py",
            section="rerank.train",
            settings=("rerank.train.hub", "rerank.train.revision"),
        ),


rule index_vectors:
    """Encode a share of the passages by a bi-encoder: what dense retrieval searches."""
    input:
        passages="<results>/{recipe}/passages.jsonl",
        encoder=fetched_encoder(recalling, reporting),
    output:
        manifest="<results>/{recipe}/index/vectors/{shard}-of-{shards}/manifest.json",
        meta="<results>/{recipe}/index/vectors/{shard}-of-{shards}.meta.json",
    wildcard_constraints:
        recipe=recipes_with_corpus(),
    conda:
        "../envs/dense.yaml"
    params:
        **of("recall/index_vectors.py", source=digest_of(encoder_files)),
    shell:
        STEP


rule make_queries:
    """Write the search queries of each question, from the user's turns only."""
    input:
        **asking("queries.model", shards="queries"),
        rows="<results>/{recipe}/records.jsonl",
        splits=taught_splits,
    output:
        rows="<results>/{recipe}/queries.jsonl",
        meta="<results>/{recipe}/queries.meta.json",
    wildcard_constraints:
        recipe=recipes_with("recall"),
    conda:
        "../envs/data.yaml"
    params:
        **of("recall/make_queries.py"),
    shell:
        STEP


use rule make_queries as make_queries_shard with:
    output:
        **shard_of("queries"),


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
    wildcard_constraints:
        recipe=recipes_recalling("bm25", "tfidf"),
    conda:
        "../envs/data.yaml"
    params:
        **of("recall/recall_passages.py"),
    shell:
        STEP


use rule recall_passages as recall_by_meaning with:
    wildcard_constraints:
        recipe=recipes_recalling("dense", "hybrid"),
    conda:
        "../envs/dense.yaml"
    params:
        **of(
            "recall/recall_passages.py",
            settings=("recall", "encoder"),
            environment="dense",
        ),


rule search_mock:
    """Find the candidate passages of each question with the benchmark's own search."""
    input:
        rows="<results>/{recipe}/queries.jsonl",
    output:
        rows="<results>/{recipe}/recall.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        meta="<results>/{recipe}/recall.meta.json",
    wildcard_constraints:
        recipe=recipes_recalling("cragmm"),
    conda:
        "../envs/dense.yaml"
    params:
        **of("recall/search_mock.py"),
    shell:
        STEP


rule search_passages:
    """Find the candidate passages of each question with a search service, and read them."""
    input:
        rows="<results>/{recipe}/queries.jsonl",
    output:
        rows="<results>/{recipe}/recall.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
        meta="<results>/{recipe}/recall.meta.json",
    wildcard_constraints:
        recipe=recipes_recalling("http"),
    conda:
        "../envs/data.yaml"
    params:
        **of("recall/search_passages.py"),
    shell:
        STEP


rule rerank_passages:
    """Keep the best chunks of the candidate passages."""
    input:
        rows="<results>/{recipe}/recall.jsonl",
        passages="<results>/{recipe}/passages.jsonl",
    output:
        rows="<results>/{recipe}/reranked.jsonl",
        meta="<results>/{recipe}/reranked.meta.json",
    wildcard_constraints:
        recipe=recipes_reranking("tfidf"),
    conda:
        "../envs/data.yaml"
    params:
        **of("recall/rerank_passages.py"),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_reranking("trained"),
    conda:
        "../envs/dense.yaml"
    params:
        **of("recall/score_candidates.py"),
    shell:
        STEP


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
    wildcard_constraints:
        recipe=recipes_reranking("trained"),
    conda:
        "../envs/data.yaml"
    params:
        **of("recall/rank_candidates.py"),
    shell:
        STEP


use rule rerank_passages as rerank_by_reading with:
    wildcard_constraints:
        recipe=recipes_reranking("cross_encoder"),
    conda:
        "../envs/dense.yaml"
    params:
        **of(
            "recall/rerank_passages.py",
            source=digest_of(scorer_files),
            environment="dense",
        ),


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
    wildcard_constraints:
        recipe=recipes_reporting(dense=False),
    conda:
        "../envs/data.yaml"
    params:
        **of("recall/evaluate_retrieval.py", source=digest_of(judgement_files)),
    shell:
        STEP


use rule evaluate_retrieval as evaluate_dense_retrieval with:
    wildcard_constraints:
        recipe=recipes_reporting(dense=True),
    conda:
        "../envs/dense.yaml"
    params:
        **of(
            "recall/evaluate_retrieval.py",
            settings=("retrieval_report", "recall", "encoder"),
            source=digest_of(judgement_files),
            environment="dense",
        ),


rule plot_retrieval:
    """Draw the scores of the backends of retrieval."""
    input:
        report="<results>/{recipe}/metrics/retrieval.json",
    output:
        picture="<results>/{recipe}/plots/retrieval.svg",
        meta="<results>/{recipe}/plots/retrieval.meta.json",
    conda:
        "../envs/plots.yaml"
    params:
        **of("recall/plot_retrieval.py", title="{recipe}: retrieval"),
    shell:
        STEP
