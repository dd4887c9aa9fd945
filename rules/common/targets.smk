# What the named targets consist of, and what the audit reads.


def models_of(recipe):
    """List the models that a recipe tunes; none where it ends with its folds."""
    train = CONFIG.recipes[recipe].train
    return list(train.models) if train else []


def per_model(recipe, pattern):
    """Fill a path under the results folder for every model and fold of a recipe."""
    folds = CONFIG.recipes[recipe].folds.names
    return [
        f"{RESULTS}/{recipe}/{pattern.format(model=model, fold=fold)}"
        for model in models_of(recipe)
        for fold in folds
    ]


def ranking_files():
    """List the scores of the rankings of all chosen recipes that train one."""
    return [
        f"{RESULTS}/{name}/metrics/ranking.json"
        for name, recipe in CONFIG.recipes.items()
        if recipe.recall and recipe.rerank.train and recipe.evaluate
    ]


def metrics_files():
    """List the metrics files of all chosen recipes: of rankings, then of models."""
    return ranking_files() + [
        path
        for name, recipe in CONFIG.recipes.items()
        if recipe.evaluate
        for path in per_model(name, "metrics/{model}/{fold}.json")
    ]


def criteria_files():
    """List the criteria of success of all chosen recipes that are held to some."""
    return [
        path
        for name, recipe in CONFIG.recipes.items()
        if recipe.evaluate and recipe.evaluate.metric == "hops"
        for path in per_model(name, "criteria/{model}/{fold}/criteria.json")
    ]


def result_lines():
    """Say what a successful run came to: the scores, where they stand, and how to load the model."""
    made = [Path(path) for path in metrics_files() if Path(path).is_file()]
    load = f"make ollama RECIPE={' '.join(CONFIG.recipes)} SCALE={CONFIG.scale}"
    return [
        *(line for path in made for line in summary_lines(path)),
        *([f"Load into Ollama: {load}"] if made and export_files() else []),
    ]


def per_fold(name):
    """List a file of every fold of all chosen recipes."""
    chosen = CONFIG.recipes.items()
    return [
        f"{RESULTS}/{recipe}/folds/{fold}/{name}"
        for recipe, settings in chosen
        for fold in settings.folds.names
    ]


def formatted_files(recipe):
    """List the formatted pairs and the validation report of a recipe that makes questions."""
    synthesize = CONFIG.recipes[recipe].synthesize
    if synthesize is None or synthesize.kind != "questions":
        return []
    forms = [f"{form}_t{synthesize.threshold}" for form in synthesize.templates]
    names = ["validation_report.json", *(f"formatted/{form}.jsonl" for form in forms)]
    return [f"{RESULTS}/{recipe}/{name}" for name in names]


def prompt_files(recipe):
    """List the prompts of a recipe that says which family its base model is of."""
    chosen = CONFIG.recipes[recipe]
    if not (chosen.train and chosen.base_model.family and has_one_fold(chosen)):
        return []
    return [f"{RESULTS}/{recipe}/prompts/{chosen.base_model.family}.jsonl"]


def data_files():
    """List what the data side makes beside the folds."""
    formatted = [path for name in CONFIG.recipes for path in formatted_files(name)]
    return [*formatted, *calibration_files()]


def calibration_files():
    """List the calibrations of labellers and judges of all chosen recipes, as numbers and as pictures."""
    tested = [
        (name, "label")
        for name, recipe in CONFIG.recipes.items()
        if recipe.label and recipe.label.calibration
    ]
    tested += [
        (name, "judge")
        for name, recipe in CONFIG.recipes.items()
        if judge_is_tested(recipe)
    ]
    return [
        f"{RESULTS}/{name}/{file.format(kind)}"
        for name, kind in tested
        for file in ("{}_calibration.json", "plots/{}_calibration.svg")
    ]


def model_files():
    """List the trained models of all chosen recipes."""
    return [
        f"{RESULTS}/{name}/models/{model}/{fold}/{weights_folder(name, model)}/manifest.json"
        for name, recipe in CONFIG.recipes.items()
        for model in models_of(name)
        for fold in recipe.folds.names
    ]


def plot_files():
    """List the pictures of all chosen recipes: of trainings, of risks, and those beside the criteria of success."""
    return (
        criteria_files()
        + [
            path
            for name, recipe in CONFIG.recipes.items()
            if recipe.evaluate and recipe.evaluate.metric == "turns"
            for path in per_model(name, "plots/{model}/{fold}.risk_coverage.svg")
        ]
        + [
            path
            for name, recipe in CONFIG.recipes.items()
            for picture in ("loss", *(["targets"] if recipe.vision else []))
            for path in per_model(name, f"plots/{{model}}/{{fold}}.{picture}.svg")
        ]
        + comparison_pages()
    )


def comparison_pages():
    """List the pages that show models side by side."""
    return [
        f"{RESULTS}/{name}/comparison/{fold}/index.html"
        for name, recipe in CONFIG.recipes.items()
        if recipe.evaluate and recipe.evaluate.metric == "texts"
        for fold in recipe.folds.names
    ]


def export_files():
    """List the exported folders of all chosen recipes that export."""
    exporting = [
        name
        for name, recipe in CONFIG.recipes.items()
        if recipe.export and recipe.export.format != "none"
    ]
    files = [
        f"ollama/{{model}}/{{fold}}/{name}" for name in ("parity.json", "Modelfile")
    ]
    return [
        path for name in exporting for file in files for path in per_model(name, file)
    ]


def audit_files():
    """List the audit files of all chosen recipes."""
    return [f"{RESULTS}/{recipe}/audit/files.json" for recipe in CONFIG.recipes]


# The steps of the phases before the folds, by the names of their meta files.
STEPS = {
    "ingest": ("records", "splits"),
    "recall": ("passages", "queries", "recall", "reranked"),
    "label": ("pointwise_labeled", "relevant"),
}
SYNTHESIS = {
    "bundles": ("synthetic",),
    "answers": ("answers", "judged", "synthetic"),
    "reasoning": ("replies", "synthetic"),
    "questions": (
        "qa",
        "training_data",
        "validated",
        "validation_report",
        "synthetic",
    ),
    "captions": ("descriptions", "captions", "summaries", "synthetic"),
}


def label_steps(recipe):
    """Name what only some recipes' label phase makes."""
    label = recipe.label
    made = [("recall_labeled", label and label.listwise)]
    made += [("pointwise_labeled_second", label and label.second)]
    steps = [name for name, wanted in made if wanted]
    if label and label.calibration:
        steps += ["calibration/pairs", "calibration/labeled", "label_calibration"]
        steps += ["plots/label_calibration"]
    if judge_is_tested(recipe):
        steps += ["calibration/answers", "calibration/answers_judged"]
        steps += ["judge_calibration", "plots/judge_calibration"]
    return steps


def data_metas(recipe):
    """Name the meta files of what a recipe makes before its folds."""
    steps = [step for phase in recipe.phases for step in STEPS.get(phase, ())]
    steps += ["documents", "chunks"] if recipe.documents else []
    steps += ["images"] if recipe.source.fetch else []
    if recipe.recall and recipe.recall.backend in ELSEWHERE:
        steps.remove("passages")
    if recipe.recall and recipe.rerank.train:
        steps += ["reranker", "pair_scores"]
        steps += ["metrics/ranking"] if recipe.evaluate else []
    steps += [*fetched_steps(recipe), *index_steps(recipe)] if recipe.recall else []
    steps += ["metrics/retrieval", "plots/retrieval"] if has_report(recipe) else []
    steps += label_steps(recipe)
    steps += SYNTHESIS[recipe.synthesize.kind] if recipe.synthesize else ()
    steps += ["student_tasks"] if searches_for_itself(recipe) else []
    return [f"{step}.meta.json" for step in steps]


def model_metas(recipe):
    """Name the meta files of what a recipe makes of each model and fold."""
    tiny = recipe.base_model.tiny
    names = ["bases/{fold}.meta.json" if tiny else "base_model.meta.json"]
    names += ["models/{model}/{fold}.meta.json", "plots/{model}/{fold}.loss.meta.json"]
    if recipe.vision:
        names += ["vision.meta.json", "plots/{model}/{fold}.targets.meta.json"]
    if recipe.evaluate and recipe.evaluate.metric == "texts":
        names += ["metrics/{model}/{fold}.meta.json", "comparison/{fold}.meta.json"]
        for predictor in ("{model}", *TEXT_CONTROLS):
            names += [f"predictions/{predictor}/{{fold}}.meta.json"]
            if recipe.evaluate.judge:
                names += [f"predictions/{predictor}/{{fold}}.judged.meta.json"]
    elif recipe.evaluate:
        names += ["models/{model}_shuffled/{fold}.meta.json"]
        names += ["metrics/{model}/{fold}.meta.json"]
        if recipe.evaluate.metric == "turns":
            names += ["plots/{model}/{fold}.risk_coverage.meta.json"]
        hops = recipe.evaluate.metric == "hops"
        if hops:
            names += ["asked/{fold}.meta.json", "latency/{model}/{fold}.meta.json"]
            names += ["criteria/{model}/{fold}/criteria.meta.json"]
        for predictor in ("{model}", *control_names("{model}")):
            names += [f"predictions/{predictor}/{{fold}}.meta.json"]
            names += [f"predictions/{predictor}/{{fold}}.judged.meta.json"]
    if recipe.export and recipe.export.format != "none":
        exported = ["Modelfile"]
        exported += ["model.gguf"] if recipe.export.format == "gguf" else []
        names += [f"ollama/{{model}}/{{fold}}/{name}.meta.json" for name in exported]
    return names


def merged_metas(name, recipe):
    """List the meta files of merged models; one that was trained whole has nothing to merge."""
    exported = recipe.export and recipe.export.format != "none"
    return [
        f"{RESULTS}/{name}/models/{model}/{fold}.merged.meta.json"
        for model in models_of(name)
        for fold in recipe.folds.names
        if exported and not trained_whole(name, model)
    ]


def meta_files(wildcards):
    """List the meta files of everything that a recipe makes."""
    name, recipe = wildcards.recipe, CONFIG.recipe(wildcards.recipe)
    metas = [f"{RESULTS}/{name}/{meta}" for meta in data_metas(recipe)]
    texts = [*formatted_files(name), *prompt_files(name)]
    metas += [f"{path.rpartition('.')[0]}.meta.json" for path in texts]
    metas += [
        f"{RESULTS}/{name}/folds/{fold}/{meta}.meta.json"
        for fold in recipe.folds.names
        for meta in ("fold", "card")
    ]
    if recipe.train:
        metas += [
            path for meta in model_metas(recipe) for path in per_model(name, meta)
        ]
    return list(dict.fromkeys([*metas, *merged_metas(name, recipe)]))
