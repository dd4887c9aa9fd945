# What DVC keeps of a recipe, for scripts/setup/write_dvc_stages.py.


# Fetched from where it is kept at a fixed revision; only how it was fetched is kept here.
NOT_KEPT = "base_model/"


def made_files(recipe):
    """List every file that a recipe makes, by the rules that make its meta files; shards are gone when it is done."""
    metas = meta_files(SimpleNamespace(recipe=recipe)) + audit_files()
    wanted = [path for path in metas + formatted_files(recipe) if f"/{recipe}/" in path]
    files = []
    for path in wanted:
        for maker in workflow.rules:
            if maker.name.endswith("_shard") or not any(
                output.match(path) for output in maker.output
            ):
                continue
            wildcards = maker.get_wildcards(path)
            files += map(str, maker.expand_output(wildcards)[0])
    return list(dict.fromkeys(files))


def kept_places(recipe):
    """List what is kept of a recipe: its files, and its folders as wholes."""
    above = f"{RESULTS}/{recipe}/"
    names = [path.removeprefix(above) for path in made_files(recipe)]
    kept = {name.partition("/")[0] for name in names if not name.startswith(NOT_KEPT)}
    return [f"{above}{name}" for name in sorted(kept)]


def describe_versions():
    """Describe, recipe by recipe, what a stage of DVC reads and keeps."""
    return {
        name: {
            "originals": [
                *(
                    path.as_posix()
                    for key in ("files", "corpus", "images", "questions")
                    for path in originals(name, key)
                ),
                *(path for _, path in named_files(recipe)),
            ],
            "places": kept_places(name),
            "metrics": [path for path in metrics_files() if f"/{name}/" in path],
            "pictures": [
                path
                for path in plot_files()
                if name in Path(path).parts and not path.endswith(".html")
            ],
            "models": {
                f"{name}-{model}-{fold}": f"{RESULTS}/{name}/models/{model}/{fold}/{weights_folder(name, model)}"
                for model in models_of(name)
                for fold in recipe.folds.names
            },
        }
        for name, recipe in CONFIG.recipes.items()
    }
