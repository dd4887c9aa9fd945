"""What is allowed and often goes wrong: said before any job starts, but no error."""

from collections.abc import Iterator

from finetrail.config.recipe import RecipeConfig

SMALL_GPU_GB = 24
LONG = 512


def memory_warnings(name: str, recipe: RecipeConfig) -> Iterator[str]:
    """Yield what exceeds a small GPU for a base that is fetched: full precision, and long rows.

    Args:
        name: of the recipe.
        recipe: checked.
    """
    if recipe.train is None or recipe.base_model is None or recipe.base_model.tiny is not None:
        return
    for model, tuning in recipe.train.models.items():
        if tuning.method != "image_prefix":
            continue
        if tuning.precision == "fp32":
            yield (
                f"{name}: train.models.{model}.precision is fp32: a model of 7 billion weights exceeds "
                f"{SMALL_GPU_GB} GB; `auto` takes half of it"
            )
        if recipe.limits.max_length >= LONG:
            yield (
                f"{name}: limits.max_length is {recipe.limits.max_length}: {model} may need more than "
                f"{SMALL_GPU_GB} GB, or a smaller learning_rate"
            )
