"""What is allowed and worth a line before any job starts."""

from collections.abc import Iterator

from finetrail.config.recipe import RunConfig
from finetrail.config.warnings import warnings_of
from finetrail.workflow.models_loaded import ModelsLoaded


def planning_warnings(run: RunConfig) -> Iterator[str]:
    """Yield settings that often go wrong, and models whose jobs can only guess what they need."""
    yield from warnings_of(run)
    for name in run.recipes:
        loaded = ModelsLoaded(run, name)
        parts = {"base_model": loaded.base(), "encoder": loaded.encoder(), "rerank": loaded.reranker()}
        for key, facts in parts.items():
            if facts is not None and not facts.known_from:
                yield (
                    f"{name}: {key}: nothing is known of the model before it is fetched: its jobs ask for what "
                    f"{facts.parameters / 1e9:.2g} billion weights need. Say otherwise under `resources`"
                )
