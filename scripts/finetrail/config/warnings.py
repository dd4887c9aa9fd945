"""What is allowed and often goes wrong: said before any job starts, but no error."""

from collections.abc import Iterator

from finetrail.config.checks import reads_images
from finetrail.config.recipe import RecipeConfig, RunConfig
from finetrail.config.sections.fields import Section
from finetrail.config.sections.llm import ModelReference

SMALL_GPU_GB = 24
LONG = 512


def warnings_of(run: RunConfig) -> Iterator[str]:
    """Yield what a run should know before anything is paid or trained, recipe by recipe."""
    for name, recipe in run.recipes.items():
        yield from memory_warnings(name, recipe)
        yield from provider_warnings(name, recipe, run)
        yield from export_warnings(name, recipe)


def references(section: Section, above: str = "") -> Iterator[tuple[str, ModelReference]]:
    """Yield the models that a section refers to, by their dotted keys."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, ModelReference):
            yield f"{above}{name}", value
        elif isinstance(value, Section):
            yield from references(value, f"{above}{name}.")


def provider_warnings(name: str, recipe: RecipeConfig, run: RunConfig) -> Iterator[str]:
    """Yield the models that are asked of one provider, and known as another's by its prices.

    An endpoint without any price may be a server that passes requests on to others.
    """
    for key, reference in references(recipe):
        asked, model = reference.endpoint, reference.model
        owners = [other for other, entry in run.llm.endpoints.items() if model in entry.prices]
        if owners and asked not in owners and run.endpoint(asked).prices:
            yield f"{name}: {key}: {asked} is asked for {model}, which is priced as a model of {owners[0]}"


def export_warnings(name: str, recipe: RecipeConfig) -> Iterator[str]:
    """Yield what is known of programs that cannot load what is exported."""
    if recipe.export is not None and recipe.base_model is not None and reads_images(recipe.base_model):
        yield (
            f"{name}: export: Ollama since 0.30 cannot load Mllama (`ollama create` passes, `ollama run` fails). Use "
            "an older Ollama, or serve the merged folder by an endpoint of kind `transformers`"
        )


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
