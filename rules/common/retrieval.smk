# What the rules of retrieval ask of the configuration: indexes, their shards, and the report.


def recipes_recalling(*backends):
    """Match the recipes whose recall has one of some backends; nothing where there is none."""
    return recipes_where(
        lambda recipe: recipe.recall and recipe.recall.backend in backends
    )


def recipes_with_corpus():
    """Match the recipes whose recall searches a corpus of their own."""
    return recipes_where(searches_a_corpus)


def recipes_reranking(method):
    """Match the recipes that rerank by a method; `trained`: by a model that is trained here."""
    return recipes_where(
        lambda recipe: recipe.recall
        and method == ("trained" if recipe.rerank.train else recipe.rerank.method)
    )


def recipes_reporting(dense):
    """Match the recipes that report on retrieval, with or without a bi-encoder."""
    return recipes_where(
        lambda recipe: has_report(recipe)
        and ("dense" in recipe.retrieval_report.members) == dense
    )


INDEXES = {"words": {"bm25", "tfidf"}, "vectors": {"dense"}}


def index_shards(kind, recipe, members):
    """List the shards of an index that some backends search, as parts of file names."""
    if INDEXES[kind].isdisjoint(members) or not searches_a_corpus(recipe):
        return []
    count = recipe.recall.index_shards
    return [f"index/{kind}/{number}-of-{count}" for number in range(1, count + 1)]


def index_manifests(kind, *ways):
    """Return the function that lists the manifests of the shards of an index, where one of some ways searches it."""

    def manifests(wildcards):
        recipe = CONFIG.recipe(wildcards.recipe)
        shards = index_shards(
            kind, recipe, [name for of in ways for name in of(recipe)]
        )
        return [
            f"{RESULTS}/{wildcards.recipe}/{shard}/manifest.json" for shard in shards
        ]

    return manifests


def fetched_encoder(*ways):
    """Return the function that names the manifest of a bi-encoder of the hub, where one of some ways searches by it."""

    def manifests(wildcards):
        recipe = CONFIG.recipe(wildcards.recipe)
        searched = any("dense" in of(recipe) for of in ways)
        from_hub = searched and recipe.encoder and recipe.encoder.hub
        return (
            [f"{RESULTS}/{wildcards.recipe}/encoder/manifest.json"] if from_hub else []
        )

    return manifests


def fetched_reranker(wildcards):
    """Return the manifest of the hub's cross-encoder that training begins from; nothing of another."""
    from_hub = CONFIG.recipe(wildcards.recipe).rerank.train.hub
    place = f"{RESULTS}/{wildcards.recipe}/reranker_base/manifest.json"
    return [place] if from_hub else []


def local_model(chosen):
    """Return the folder of a bi-encoder or cross-encoder; nothing where it is a package's, or from the hub."""
    return [Path(chosen.path)] if chosen and chosen.path else []


def encoder_files(wildcards):
    """Return the folder of the bi-encoder."""
    return local_model(CONFIG.recipe(wildcards.recipe).encoder)


def scorer_files(wildcards):
    """Return the folder of the cross-encoder."""
    return local_model(CONFIG.recipe(wildcards.recipe).rerank.model)


def qrels_file(wildcards):
    """Return the relevance judgements."""
    return Path(CONFIG.recipe(wildcards.recipe).retrieval_report.qrels)


def judged_query_files(wildcards):
    """Return the files of the queries that were judged, one a form."""
    section = CONFIG.recipe(wildcards.recipe).retrieval_report
    return [Path(path) for path in section.queries.values()]


def judgement_files(wildcards):
    """Return all files that the report on retrieval reads beside the indexes."""
    return [qrels_file(wildcards), *judged_query_files(wildcards)]
