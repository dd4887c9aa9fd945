"""The original files that recipes name, and whether they are there."""

from collections.abc import Iterator
from pathlib import Path

from finetrail.config.recipe import RecipeConfig, RunConfig
from finetrail.workflow.traits import is_there, needed_paths, searches_a_corpus

_KEYS = ("files", "held_out", "corpus", "images", "questions")


def gold_files(recipe: RecipeConfig) -> list[str]:
    """Return the files of people's labels that a recipe's labeller is held to."""
    if recipe.label is None or recipe.label.calibration is None:
        return []
    return list(recipe.label.calibration.gold)


def named_files(recipe: RecipeConfig) -> Iterator[tuple[str, str]]:
    """Yield the files besides the original records that a recipe names, each behind its key."""
    if recipe.vision:
        for part in ("encoder", "classifier"):
            if weights := getattr(recipe.vision, part).checkpoint:
                yield f"vision.{part}.checkpoint", weights
    if recipe.splits.previous:
        yield "splits.previous", recipe.splits.previous
    if report := recipe.retrieval_report:
        yield "retrieval_report.qrels", report.qrels
        yield from (("retrieval_report.queries", path) for path in report.queries.values())
    for key, model in (("encoder", recipe.encoder), ("rerank.model", recipe.rerank.model)):
        if model and model.path:
            yield f"{key}.path", model.path
    yield from (("folds.benchmarks", path) for path in recipe.folds.benchmarks)
    yield from (("label.calibration.gold", path) for path in gold_files(recipe))


def missing_files(run: RunConfig) -> Iterator[str]:
    """Yield a message for each original file that is not there, or lies where it may not.

    Where all was made already, Snakemake would not miss them. A file that DVC holds counts as there.
    """
    for name, recipe in run.recipes.items():
        for key in _KEYS:
            if key == "corpus" and not searches_a_corpus(recipe):
                continue
            for path in needed_paths(recipe, key):
                if not is_there(path):
                    yield (
                        f"{name}: source.{key}: {path} does not exist. Put it there or name another in"
                        f" config/recipes/{name}.yaml; data/README.md says where published data are to be had."
                        f" Other recipes are chosen by --config 'recipes=[NAME]'"
                    )
        for key, named in named_files(recipe):
            if not is_there(Path(named)):
                yield f"{name}: {key}: {named} does not exist: name another, or leave the key out"
        previous = recipe.splits.previous
        if previous and Path(previous).resolve().is_relative_to(run.results.resolve()):
            yield (
                f"{name}: splits.previous: {previous} lies among the results, which it decides: copy it elsewhere,"
                " and name the copy"
            )
