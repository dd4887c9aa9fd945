"""The models that a recipe's steps ask, and what a server of our own loads for them."""

import operator
import os
from collections.abc import Iterator
from pathlib import Path

from finetrail.config.recipe import RunConfig
from finetrail.config.sections.llm import Endpoint, ModelReference
from finetrail.config.sections.places import is_folder
from finetrail.config.sections.schema import plain
from finetrail.errors import FinetrailError
from finetrail.serving.command_lines import interpreter
from finetrail.serving.model_support import check_served, model_file
from finetrail.serving.own_server import OwnServer

MODEL_KEYS = (
    "queries.model",
    "label.model",
    "label.listwise",
    "label.second",
    "synthesize.teacher",
    "synthesize.judge",
    "evaluate.judge",
)
"""Where a recipe refers to a model that is asked."""


def model_asked(run: RunConfig, recipe: str, key: str) -> tuple[ModelReference, Endpoint] | None:
    """Return the model reference at a key of a recipe, and its endpoint; None where no model is asked."""
    above, _, name = key.rpartition(".")
    section = operator.attrgetter(above)(run.recipe(recipe))
    if section is None or not getattr(section, "enabled", True):
        return None
    reference: ModelReference | None = getattr(section, name)
    return None if reference is None else (reference, run.endpoint(reference.endpoint))


def _folders(reference: ModelReference, endpoint: Endpoint) -> list[str]:
    """Return the folders that a server of our own loads a model from."""
    adapter = endpoint.serve.lora_modules.get(reference.model)
    named = [adapter.base, adapter.path] if adapter else [reference.model]
    return [name for name in named if is_folder(name)]


def _is_made_here(run: RunConfig, name: str) -> bool:
    return Path(os.path.relpath(name)).is_relative_to(run.results)


def served_files(run: RunConfig, reference: ModelReference, endpoint: Endpoint) -> list[Path]:
    """Return what a server of our own reads from the disk, but for models that this workflow makes."""
    foreign = [name for name in _folders(reference, endpoint) if not _is_made_here(run, name)]
    return [Path(name) for name in (*foreign, endpoint.serve.chat_template) if name]


def served_manifests(run: RunConfig, recipe: str, key: str) -> list[str]:
    """Return the manifests of the models of this workflow that a server of our own is to load."""
    asked = model_asked(run, recipe, key)
    if asked is None or not asked[1].is_own_server:
        return []
    made = [name for name in _folders(*asked) if _is_made_here(run, name)]
    return [f"{os.path.relpath(name)}/manifest.json" for name in made]


def check_own_servers(run: RunConfig) -> Iterator[str]:
    """Refuse a model that vLLM does not know, and yield a warning where vLLM is missing.

    A missing vLLM is no error yet: the call store may hold every answer. A model that is made here is not there yet.

    Raises:
        FinetrailError: vLLM does not serve the model so.
    """
    for recipe in run.recipes:
        for key in MODEL_KEYS:
            asked = model_asked(run, recipe, key)
            if asked is None or asked[1].kind != "vllm":
                continue
            reference, endpoint = asked
            try:
                interpreter(endpoint.kind, OwnServer.of(plain(endpoint.serve)))
            except FinetrailError as error:
                yield f"{recipe}: {key}: {error}"
            adapter = endpoint.serve.lora_modules.get(reference.model)
            model = adapter.base if adapter else reference.model
            config = model_file(model, (adapter or reference).revision, "config.json")
            if config is not None:
                check_served(config, f"{recipe}: {key}: {model}", max(endpoint.gpus, 1))
