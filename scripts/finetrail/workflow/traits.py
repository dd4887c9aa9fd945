"""What a recipe is like: questions that several rules ask of its configuration."""

from pathlib import Path

from finetrail.config.recipe import RecipeConfig, RunConfig
from finetrail.config.sections.recall import ELSEWHERE

TEXT_CONTROLS = ("base", "frequent", "nearest", "class_name")
"""What a model that writes about images is compared with."""


def searches_for_itself(recipe: RecipeConfig) -> bool:
    """Say whether a recipe's model writes its own queries and chooses its passages when it is deployed."""
    return recipe.student is not None


def judge_is_tested(recipe: RecipeConfig) -> bool:
    """Say whether defects are planted to test the judge of a recipe's answers."""
    made = recipe.synthesize
    return bool(made and made.kind == "answers" and made.planted)


def answers_questions(recipe: RecipeConfig) -> bool:
    """Say whether a recipe's models answer questions; the others write texts about images."""
    return bool(recipe.evaluate and recipe.evaluate.metric != "texts")


def judges_texts(recipe: RecipeConfig) -> bool:
    """Say whether a model scores what a recipe's models write about images."""
    scored = recipe.evaluate
    return bool(scored and scored.metric == "texts" and scored.judge)


def has_one_fold(recipe: RecipeConfig) -> bool:
    """Say whether a recipe has one fold, so that a path need not name it."""
    return len(recipe.folds.names) == 1


def searches_a_corpus(recipe: RecipeConfig) -> bool:
    """Say whether a recipe's recall searches a corpus of its own, not a service."""
    return recipe.recall is not None and recipe.recall.backend not in ELSEWHERE


def has_report(recipe: RecipeConfig) -> bool:
    """Say whether a recipe reports on retrieval: a search service has nothing that was judged."""
    return recipe.retrieval_report is not None and searches_a_corpus(recipe)


def recalling(recipe: RecipeConfig) -> list[str]:
    """Return the plain backends that recall searches."""
    return list(recipe.recall.members) if recipe.recall else []


def reporting(recipe: RecipeConfig) -> list[str]:
    """Return the plain backends that the report on retrieval measures."""
    return list(recipe.retrieval_report.members) if recipe.retrieval_report and has_report(recipe) else []


def fusing(recipe: RecipeConfig) -> list[str]:
    """Return the plain backends whose scores the trained ranking fuses beside those of recall."""
    return ["bm25"] if recipe.recall and recipe.rerank.train else []


def plain_model(model: str) -> str:
    """Return the model that a shuffled control belongs to; other models are themselves."""
    return model.removesuffix("_shuffled")


def models_of(recipe: RecipeConfig) -> list[str]:
    """List the models that a recipe tunes; none where it ends with its folds."""
    return list(recipe.train.models) if recipe.train else []


def trained_whole(recipe: RecipeConfig, model: str) -> bool:
    """Say whether training changes all weights of a model, so that there is no adapter."""
    tuned = recipe.train and recipe.train.models.get(plain_model(model))
    return bool(tuned and tuned.method == "full")


def weights_folder(recipe: RecipeConfig, model: str) -> str:
    """Name the folder that training publishes."""
    return "final_checkpoint" if trained_whole(recipe, model) else "final_adapter"


def control_names(model: str) -> list[str]:
    """Return what a model is compared with: untuned base, shuffled labels, trivial answers."""
    return ["base", f"{model}_shuffled", "trivial"]


def neural_models(run: RunConfig) -> list[str]:
    """List the models that predict with a network: the tuned ones, their shuffled controls and the base."""
    tuned = {model for recipe in run.recipes.values() for model in models_of(recipe)}
    return sorted({"base", *tuned, *(f"{model}_shuffled" for model in tuned)})


def text_models(run: RunConfig) -> list[str]:
    """List the models that write about images, and the baselines beside them."""
    return sorted({*TEXT_CONTROLS, *(model for recipe in run.recipes.values() for model in models_of(recipe))})


def is_there(path: Path) -> bool:
    """Tell whether an original file or folder is there; what DVC holds counts."""
    return path.exists() or path.with_name(f"{path.name}.dvc").exists()


def source_paths(recipe: RecipeConfig, key: str) -> list[Path]:
    """Return the original files, or the folder, that a key of `source` names."""
    named = getattr(recipe.source, key)
    return [Path(path) for path in ([named] if isinstance(named, str) else named or [])]


def needed_paths(recipe: RecipeConfig, key: str) -> list[Path]:
    """Return what a key of `source` names and must be there: all, but for local images where images are fetched.

    Records may name all of theirs by address.
    """
    spared = key == "images" and recipe.source.fetch is not None
    return [path for path in source_paths(recipe, key) if is_there(path) or not spared]
