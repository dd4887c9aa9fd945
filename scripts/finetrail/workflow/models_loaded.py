"""The models that a recipe's jobs load, and what is known of each."""

import os
from pathlib import Path

from finetrail.config.recipe import RunConfig
from finetrail.config.sections.llm import Endpoint, ModelReference
from finetrail.config.sections.places import is_folder
from finetrail.workflow.base_facts import ASSUMED, TINY, Facts, folder_facts, hub_facts


class ModelsLoaded:
    """What is known of the models of one recipe; None of a model that the recipe does not name.

    Args:
        run: the configuration.
        recipe: its name.
    """

    def __init__(self, run: RunConfig, recipe: str) -> None:
        self._run, self._recipe = run, run.recipe(recipe)
        self._folder = run.results / recipe

    def base(self) -> Facts | None:
        """The model that tuning starts from."""
        choice = self._recipe.base_model
        if choice is None:
            return None
        if choice.tiny:
            return TINY
        return self._known(choice.hub, choice.revision, choice.path, "base_model")

    def encoder(self) -> Facts | None:
        """The bi-encoder; one of a package comes with it, and is small."""
        choice = self._recipe.encoder
        if choice is None:
            return None
        return TINY if choice.package else self._known(choice.hub, choice.revision, choice.path, "encoder")

    def reranker(self) -> Facts | None:
        """The cross-encoder: the one that is trained here, else the one that is taken as it is."""
        rerank = self._recipe.rerank
        if rerank.train is not None:
            chosen = rerank.train
            return TINY if chosen.tiny else self._known(chosen.hub, chosen.revision, chosen.path, "reranker_base")
        model = rerank.model if rerank.method == "cross_encoder" else None
        if model is None:
            return None
        return TINY if model.package else self._known(model.hub, model.revision, model.path, "reranker_base")

    def embedding(self) -> Facts | None:
        """The model whose vectors of texts are compared."""
        scored = self._recipe.evaluate
        choice = scored.embedding if scored else None
        return None if choice is None else self._known(choice.hub, choice.revision, choice.path, "embedding")

    def served(self, reference: ModelReference, endpoint: Endpoint) -> Facts:
        """A model that a server of our own loads; an adapter counts as its base."""
        adapter = endpoint.serve.lora_modules.get(reference.model)
        name = adapter.base if adapter else reference.model
        if not is_folder(name):
            return hub_facts(name, (adapter or reference).revision)
        inside = Path(os.path.relpath(name))
        if inside.is_relative_to(self._run.results):
            maker = inside.relative_to(self._run.results).parts[0]
            made = ModelsLoaded(self._run, maker).base() if maker in self._run.recipes else None
            return made or ASSUMED
        return folder_facts(Path(name)) or ASSUMED

    def _known(self, hub: str | None, revision: str | None, path: str | None, fetched: str) -> Facts:
        if hub is not None:
            return hub_facts(hub, revision, self._folder / fetched)
        return folder_facts(Path(path or "")) or ASSUMED
