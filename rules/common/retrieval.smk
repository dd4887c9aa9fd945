# What the rules of retrieval ask of the configuration: indexes, their shards, and the report.

from finetrail.config.sections.recall import ELSEWHERE


def recall_backend(recipe):
    """Return the backend of a recipe's recall; none where the recipe has no such phase."""
    chosen = CONFIG.recipes[recipe]
    return chosen.recall.backend if chosen.recall else None


def recipes_recalling(*backends):
    """Match the recipes whose recall has one of some backends; nothing where there is none."""
    return recipes_where(
        lambda recipe: recipe.recall and recipe.recall.backend in backends
    )


def recipes_with_corpus():
    """Match the recipes whose recall searches a corpus of their own."""
    return recipes_where(
        lambda recipe: recipe.recall and recipe.recall.backend not in ELSEWHERE
    )


def recipes_reranking(method):
    """Match the recipes that rerank by a method; `trained`: by a model that is trained here."""
    return recipes_where(
        lambda recipe: recipe.recall
        and method == ("trained" if recipe.rerank.train else recipe.rerank.method)
    )


def has_report(recipe):
    """Tell whether a recipe reports on retrieval: a search service has nothing that was judged."""
    return (
        recipe.retrieval_report
        and recipe.recall
        and recipe.recall.backend not in ELSEWHERE
    )


def recipes_reporting(dense):
    """Match the recipes that report on retrieval, with or without a bi-encoder."""
    return recipes_where(
        lambda recipe: has_report(recipe)
        and ("dense" in recipe.retrieval_report.members) == dense
    )


def recalling(recipe):
    """Return the plain backends that recall searches."""
    return recipe.recall.members if recipe.recall else []


def reporting(recipe):
    """Return the plain backends that the report measures."""
    return recipe.retrieval_report.members if has_report(recipe) else []


def fusing(recipe):
    """Return the plain backends whose scores the trained ranking fuses beside those of recall."""
    return ["bm25"] if recipe.recall and recipe.rerank.train else []


INDEXES = {"words": {"bm25", "tfidf"}, "vectors": {"dense"}}


def index_shards(kind, recipe, members):
    """List the shards of an index that some backends search, as parts of file names."""
    if INDEXES[kind].isdisjoint(members) or recipe.recall.backend in ELSEWHERE:
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


def index_steps(recipe):
    """Name the shards of the indexes of a recipe."""
    searched = {*recalling(recipe), *reporting(recipe), *fusing(recipe)}
    return [shard for kind in INDEXES for shard in index_shards(kind, recipe, searched)]


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


def fetched_steps(recipe):
    """Name what a recipe's retrieval fetches from the hub."""
    dense = "dense" in (*recalling(recipe), *reporting(recipe))
    steps = ["encoder"] if dense and recipe.encoder.hub else []
    trained = recipe.rerank.train
    return steps + (["reranker_base"] if trained and trained.hub else [])


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


def retrieval_files():
    """List the reports on retrieval of all chosen recipes."""
    return [
        f"{RESULTS}/{name}/{file}"
        for name, recipe in CONFIG.recipes.items()
        if has_report(recipe)
        for file in ("metrics/retrieval.json", "plots/retrieval.svg")
    ]
