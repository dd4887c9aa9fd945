# Inputs along the chain: what the phases leave for one another, and which models a rule serves.


# What the phases before the folds leave for those behind them.
PRODUCTS = {
    "ingest": "records.jsonl",
    "recall": "reranked.jsonl",
    "label": "relevant.jsonl",
    "synthesize": "synthetic.jsonl",
}


def before(phase):
    """Return what gives a phase its rows: the product of the last phase before it that the recipe uses."""
    order = list(PHASES)
    earlier = [name for name in PRODUCTS if order.index(name) < order.index(phase)]

    def rows(wildcards):
        used = CONFIG.recipe(wildcards.recipe).phases
        *_, last = (PRODUCTS[name] for name in earlier if name in used)
        return f"{RESULTS}/{wildcards.recipe}/{last}"

    return rows


def example_files(wildcards):
    """Return what train rows are made of: the examples, and what teaches a student to search for itself."""
    taught = searches_for_itself(CONFIG.recipe(wildcards.recipe))
    tasks = f"{RESULTS}/{wildcards.recipe}/student_tasks.jsonl"
    return [before("folds")(wildcards), *([tasks] if taught else [])]


def taught_splits(wildcards):
    """Return the splits where queries are written for train questions only: to teach a student to write its own."""
    taught = searches_for_itself(CONFIG.recipe(wildcards.recipe))
    return [f"{RESULTS}/{wildcards.recipe}/splits.jsonl"] if taught else []


def passages_file(wildcards):
    """Return the passages; nothing where the recipe has none."""
    searched = CONFIG.recipe(wildcards.recipe).recall
    return [f"{RESULTS}/{wildcards.recipe}/passages.jsonl"] if searched else []


def recipes_where(fits):
    """Match the recipes that something holds of; nothing where there is none."""
    names = [name for name, recipe in CONFIG.recipes.items() if fits(recipe)]
    return "|".join(names) or "(?!)"


def recipes_with(phase):
    """Match the recipes that use a phase."""
    return recipes_where(lambda recipe: phase in recipe.phases)


def recipes_synthesizing(kind):
    """Match the recipes that synthesize a kind of examples."""
    return recipes_where(
        lambda recipe: recipe.synthesize and recipe.synthesize.kind == kind
    )


def recipes_scoring(metric):
    """Match the recipes that are scored by a metric."""
    return recipes_where(
        lambda recipe: recipe.evaluate and recipe.evaluate.metric == metric
    )


def recipes_answering(alone=None):
    """Match the recipes whose models answer questions; `alone`: those that search for themselves, or the others."""
    return recipes_where(
        lambda recipe: answers_questions(recipe)
        and alone in (None, searches_for_itself(recipe))
    )


# Whether functions may name what stands behind the folds before these are made: to list what a recipe makes.
FOLDS = {"laid_out": False}


def made_fold(wildcards):
    """Return the fold's checkpoint. A rule behind it whose inputs do not ask for it is never looked at again."""
    if FOLDS["laid_out"]:
        maker = workflow.get_rule("make_folds")
        return SimpleNamespace(output=maker.expand_output(wildcards)[0])
    return checkpoints.make_folds.get(recipe=wildcards.recipe, fold=wildcards.fold)


def fold_file(name):
    """Return a file of a fold, known once the fold was made: unchanged bytes then rerun nothing."""
    return lambda wildcards: made_fold(wildcards).output.get(name)


def of_only_fold(inputs):
    """Return an input function for paths that do not name the recipe's only fold."""

    def asked(wildcards):
        (fold,) = CONFIG.recipe(wildcards.recipe).folds.names
        return inputs(Wildcards(fromdict={**dict(wildcards.items()), "fold": fold}))

    return asked


def base_manifest(wildcards):
    """Return the manifest of the base model: made here, or fetched."""
    if CONFIG.recipe(wildcards.recipe).base_model.tiny:
        return f"{RESULTS}/{wildcards.recipe}/bases/{wildcards.fold}/manifest.json"
    return f"{RESULTS}/{wildcards.recipe}/base_model/manifest.json"


def models_trained_by(*methods):
    """Match the models, and their shuffled controls, that are trained by some methods; nothing where there is none."""
    # Two recipes may have models of one name: what stands before the model's name in a path tells them apart.
    names = [
        f"(?<=/{name}/models/){model}(?:_shuffled)?"
        for name, recipe in CONFIG.recipes.items()
        for model in (recipe.train.models if recipe.train else ())
        if recipe.train.models[model].method in methods
    ]
    return "|".join(names) or "(?!)"


def model_manifest(wildcards, folder):
    """Return the manifest in a folder of a model."""
    place = f"{RESULTS}/{wildcards.recipe}/models/{wildcards.model}/{wildcards.fold}"
    return f"{place}/{folder}/manifest.json"


def merged_manifest(wildcards):
    """Return the manifest of the model as it is exported: merged, or trained whole."""
    made_fold(wildcards)
    whole = trained_whole(CONFIG.recipe(wildcards.recipe), wildcards.model)
    return model_manifest(
        wildcards, "final_checkpoint" if whole else "final_merged_checkpoint"
    )


def training_log(wildcards):
    """Return the log of a model's training."""
    made_fold(wildcards)
    place = f"{RESULTS}/{wildcards.recipe}/models/{wildcards.model}/{wildcards.fold}"
    return f"{place}/training_log.jsonl"


def adapter_manifest(wildcards):
    """Return the manifest of a model's adapter; the untuned base and a model trained whole have none."""
    made_fold(wildcards)
    if wildcards.model == "base" or trained_whole(
        CONFIG.recipe(wildcards.recipe), wildcards.model
    ):
        return []
    return model_manifest(wildcards, "final_adapter")


def asked_rows(wildcards):
    """Return the questions that a model is asked: the fold's test rows, or those in several conditions."""
    made_fold(wildcards)
    evaluate = CONFIG.recipe(wildcards.recipe).evaluate
    if evaluate and evaluate.metric == "hops":
        return f"{RESULTS}/{wildcards.recipe}/asked/{wildcards.fold}.jsonl"
    return fold_file("test")(wildcards)


def predicting_manifest(wildcards):
    """Return the manifest of what predicts: a model trained whole, else the base (with its adapter)."""
    recipe = CONFIG.recipe(wildcards.recipe)
    if wildcards.model != "base" and trained_whole(recipe, wildcards.model):
        return model_manifest(wildcards, "final_checkpoint")
    return base_manifest(wildcards)


def control_files(wildcards):
    """Return the judged predictions of a model's controls."""
    made_fold(wildcards)
    folder = f"{RESULTS}/{wildcards.recipe}/predictions"
    return [
        f"{folder}/{name}/{wildcards.fold}.judged.jsonl"
        for name in control_names(wildcards.model)
    ]


def scored_model(wildcards):
    """Return the metrics file of a model."""
    made_fold(wildcards)
    return (
        f"{RESULTS}/{wildcards.recipe}/metrics/{wildcards.model}/{wildcards.fold}.json"
    )


def text_adapter(wildcards):
    """Return the manifest of a model that writes about images; baselines have none."""
    made_fold(wildcards)
    if wildcards.model in TEXT_CONTROLS:
        return []
    return model_manifest(wildcards, "final_adapter")


def unjudged_texts(wildcards):
    """Return the predictions of a model that writes about images, as they are to be judged."""
    made_fold(wildcards)
    folder = f"{RESULTS}/{wildcards.recipe}/predictions"
    return f"{folder}/{wildcards.model}/{wildcards.fold}.jsonl"


def written_texts(wildcards, models):
    """Return the predictions of models that write about images, with the judge's scores where there is one."""
    made_fold(wildcards)
    judged = ".judged" if judges_texts(CONFIG.recipe(wildcards.recipe)) else ""
    folder = f"{RESULTS}/{wildcards.recipe}/predictions"
    return [f"{folder}/{name}/{wildcards.fold}{judged}.jsonl" for name in models]


def text_controls(wildcards):
    """Return the predictions of what a model that writes about images is compared with."""
    return written_texts(wildcards, TEXT_CONTROLS)


def tuned_texts(wildcards):
    """Return the predictions of a model that writes about images."""
    return written_texts(wildcards, [wildcards.model])


def compared_predictions(wildcards):
    """Return the predictions that stand side by side."""
    made_fold(wildcards)
    folder = f"{RESULTS}/{wildcards.recipe}/predictions"
    models = CONFIG.recipe(wildcards.recipe).evaluate.compare
    return [f"{folder}/{name}/{wildcards.fold}.jsonl" for name in models]


def recipes_exporting(form):
    """Match the recipes that export in a format."""
    return recipes_where(lambda recipe: recipe.export and recipe.export.format == form)
