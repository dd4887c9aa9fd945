"""Checks across sections; each runs on whatever sections are valid, so that no error hides another."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from finetrail.artifacts import read_json
from finetrail.config.fields import Section
from finetrail.config.messages import did_you_mean, dotted
from finetrail.config.model import RecipeConfig
from finetrail.config.model_llm import OFFLINE_PREFIX, ModelReference
from finetrail.config.model_train import BaseModelChoice
from finetrail.config.schema import as_section, child, is_mapping
from finetrail.config.yaml_lines import KeyPath


class Finding(NamedTuple):
    """Something wrong at a path of a recipe."""

    path: KeyPath
    text: str
    hint: str | None = None


def _is_there(name: str) -> Callable[[RecipeConfig], Iterator[Finding]]:
    """Make the check that a recipe has a section that today's rules read."""

    def check(recipe: RecipeConfig) -> Iterator[Finding]:
        if getattr(recipe, name) is None:
            text = f"the section {name} is missing, and the workflow cannot leave it out yet"
            yield Finding((name,), text, "Write it, or remove the `null` that takes it back")

    return check


def _recall_has_passages(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.recall is not None and not recipe.source.corpus:
        yield Finding(("recall",), "recall needs passages to search", "Name their files in `source.corpus`")


def _counts_fit(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.recall is None:
        return
    kept, found = recipe.rerank.keep_passages, recipe.recall.top_k
    if kept > found:
        yield Finding(
            ("rerank", "keep_passages"),
            f"rerank.keep_passages is {kept}, but recall.top_k finds only {found}",
        )
    shown, chunks = recipe.folds.evidence, recipe.rerank.keep_chunks
    if shown > chunks:
        yield Finding(
            ("folds", "evidence"),
            f"folds.evidence is {shown}, but rerank.keep_chunks keeps only {chunks}",
        )


def _judges_differ(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.synthesize is None or recipe.evaluate is None or recipe.evaluate.judge is None:
        return
    model = recipe.evaluate.judge.model
    if model == recipe.synthesize.judge.model and not recipe.evaluate.allow_same_judge:
        yield Finding(
            ("evaluate", "judge", "model"),
            f"evaluate.judge.model is {model}, which filters the train rows as synthesize.judge.model",
            "Score with another model, or set `evaluate.allow_same_judge: true` (the report says so)",
        )


def _whole_answers_carry_loss(recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.train is None or recipe.limits.history_answer_tokens is None:
        return
    for name, model in recipe.train.models.items():
        if model.loss == "assistant":
            yield Finding(
                ("train", "models", name, "loss"),
                f"train.models.{name}.loss is assistant, but limits.history_answer_tokens cuts earlier answers:"
                " the model would learn to stop in the middle",
                "Set `loss: answer`, or `history_answer_tokens: null`",
            )


def _vision_fits(recipe: RecipeConfig) -> Iterator[Finding]:
    """What is known not to work for a vision model, as far as the configuration tells that it is one."""
    if recipe.base_model is None or not _reads_images(recipe.base_model):
        return
    if recipe.export is not None and recipe.export.format == "gguf":
        yield Finding(
            ("export", "format"),
            "export.format is gguf, but llama.cpp's file format has no Mllama",
            "Set `safetensors`, which Ollama converts itself",
        )
    for name, model in (recipe.train.models if recipe.train else {}).items():
        if model.packing and recipe.limits.images == "show":
            yield Finding(
                ("train", "models", name, "packing"),
                f"train.models.{name}.packing is true, but rows with images cannot share a sequence",
                "Set it to false, or `limits.images` to drop",
            )


def _reads_images(choice: BaseModelChoice) -> bool:
    """Whether the base is a vision model, as far as can be told before it is fetched."""
    if choice.path is not None:
        config = Path(choice.path, "config.json")
        return config.is_file() and "vision_config" in read_json(config)
    name = (choice.hub or "").lower()
    return choice.tiny == "mllama" or ("llama-3.2" in name and "vision" in name)


# Sections that today's rules cannot leave out, though the model allows it.
COMPULSORY = ("recall", "label", "synthesize", "base_model", "train", "evaluate")

Check = Callable[[RecipeConfig], Iterator[Finding]]

# Each check, and the sections that must be valid for it to run.
CHECKS: tuple[tuple[Check, frozenset[str]], ...] = (
    *((_is_there(name), frozenset({name})) for name in COMPULSORY),
    (_recall_has_passages, frozenset({"source", "recall"})),
    (_counts_fit, frozenset({"recall", "rerank", "folds"})),
    (_judges_differ, frozenset({"synthesize", "evaluate"})),
    (_whole_answers_carry_loss, frozenset({"train", "limits"})),
    (_vision_fits, frozenset({"base_model", "train", "limits", "export"})),
)


def cross_check(tree: Mapping[str, Any], broken: set[str]) -> Iterator[Finding]:
    """Run the checks whose sections are valid.

    Args:
        tree: a recipe's merged values.
        broken: names of its sections that are not valid.
    """
    values: dict[str, Any] = {}
    for name, value in tree.items():
        section = as_section(child(RecipeConfig, name))
        if name in RecipeConfig.model_fields and name not in broken:
            values[name] = section.model_validate(value) if section else value
    partial = RecipeConfig.model_construct(**values)
    for check, needed in CHECKS:
        if not needed & broken:
            yield from check(partial)


def check_reader(tree: Mapping[str, Any], known: Collection[str]) -> Iterator[Finding]:
    """Check that the original records have a reader, where the readers are known."""
    source = tree.get("source")
    name = source.get("format") if isinstance(source, dict) else None
    if known and isinstance(name, str) and name not in known:
        text = f"source.format: there is no reader `{name}`"
        yield Finding(("source", "format"), text, did_you_mean(name, known))


def check_endpoints(tree: Any, endpoints: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that every model reference names an endpoint, and that the offline teacher has its own name."""
    for path, reference in _references(RecipeConfig, tree, ()):
        name, model = reference.get("endpoint"), str(reference.get("model"))
        if not isinstance(name, str):
            continue
        key = dotted(path)
        if name not in endpoints:
            yield Finding(
                (*path, "endpoint"),
                f"{key}.endpoint: no endpoint `{name}` in llm.endpoints",
                did_you_mean(name, endpoints),
            )
            continue
        offline = isinstance(endpoints[name], dict) and endpoints[name].get("kind") == "offline"
        if offline != model.startswith(OFFLINE_PREFIX):
            text = f"{key}.model: {model} cannot be served by the endpoint {name}"
            yield Finding(
                (*path, "model"),
                text,
                f"The offline teacher, and nothing else, has names with {OFFLINE_PREFIX}",
            )


def check_prices(tree: Any, llm: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that a bound in US dollars can be held: every model that is asked for money has a price."""
    if llm.get("budget_usd") is None or not isinstance(llm.get("endpoints"), dict):
        return
    for path, reference in _references(RecipeConfig, tree, ()):
        name, model = reference.get("endpoint"), reference.get("model")
        entry = llm["endpoints"].get(name) if isinstance(name, str) else None
        unused = path[0] == "queries" and not tree["queries"].get("enabled")
        if unused or not isinstance(entry, dict) or entry.get("kind") != "openai":
            continue
        if model not in (entry.get("prices") or {}):
            yield Finding(
                (*path, "model"),
                f"{dotted(path)}.model: llm.budget_usd cannot be held, since {model} has no price at {name}",
                f"Add it to llm.endpoints.{name}.prices (input and output 0 for a server of your own), or bound "
                "llm.budget_calls instead",
            )


def _references(annotation: Any, value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Yield the model references in a tree of values that may be wrong."""
    section: type[Section] | None = as_section(annotation)
    if not isinstance(value, dict):
        return
    if section is ModelReference:
        yield path, value
    elif is_mapping(annotation):
        for key, item in value.items():
            yield from _references(child(annotation, key), item, (*path, key))
