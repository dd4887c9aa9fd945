# What DVC keeps of a recipe, for scripts/setup/write_dvc_stages.py.


# Fetched from where it is kept at a fixed revision; only how it was fetched is kept here.
NOT_KEPT = "base_model/"


def kept_places(recipe):
    """List what is kept of a recipe: its files, and its folders as wholes."""
    above = f"{RESULTS}/{recipe}/"
    made = [path for outputs in jobs_of(recipe) for path in outputs]
    made += TARGETS.of(recipe, TARGETS.audits())
    names = [str(path).removeprefix(above) for path in made]
    kept = {name.partition("/")[0] for name in names if not name.startswith(NOT_KEPT)}
    return [f"{above}{name}" for name in sorted(kept)]


def describe_versions():
    """Describe, recipe by recipe, what a stage of DVC reads and keeps."""
    keys = ("files", "corpus", "images", "questions")
    return {
        name: {
            "originals": [
                *(
                    path.as_posix()
                    for key in keys
                    for path in source_paths(recipe, key)
                ),
                *(path for _, path in originals.named_files(recipe)),
            ],
            "places": kept_places(name),
            "metrics": TARGETS.of(name, TARGETS.metrics()),
            "pictures": [
                path
                for path in TARGETS.of(name, TARGETS.plots())
                if not path.endswith(".html")
            ],
            "models": {
                model: folder
                for model, folder in TARGETS.model_folders().items()
                if TARGETS.of(name, [folder])
            },
        }
        for name, recipe in CONFIG.recipes.items()
    }
