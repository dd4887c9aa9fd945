"""The deployed pipeline of a recipe: its files among the results, and the adapter that the alias `best` means."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from finetrail.config.recipe import RecipeConfig, RunConfig
from finetrail.config.sections.schema import result_keys
from finetrail.errors import FinetrailError
from finetrail.inference.answering.pipeline import Pipeline, Places
from finetrail.training.tracking.artifact_registry import REGISTRY, Registry

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def best_artifact(run: RunConfig, recipe: str, model: str, fold: str, alias: str = "best") -> Path:
    """Return the zip file that an alias means in the registry of a model's training; of several, the newest.

    Raises:
        FinetrailError: there is none, or its bytes are not those that were registered.
    """
    state = run.results / "state" / f"{recipe}.{model}.{fold}"
    registries = sorted(state.glob(f"*/wandb/{REGISTRY}"), key=lambda path: path.stat().st_mtime_ns)
    found = [entry for path in registries if (entry := Registry(path.parent).find(alias)) is not None]
    if not found:
        raise FinetrailError(
            f"no artifact is registered as {alias!r}",
            where=str(state),
            hint="Train with `train.wandb: {}` (offline is enough), dev rows and `eval_steps`: each checkpoint is one",
        )
    return found[-1][0]


def unpack_adapter(file: Path, folder: Path) -> None:
    """Take the adapter, two files and nothing else, out of an artifact.

    Raises:
        FinetrailError: it holds none.
    """
    with zipfile.ZipFile(file) as archive:
        for name in ADAPTER:
            inside = [member for member in archive.namelist() if Path(member).name == name]
            if not inside:
                raise FinetrailError(f"holds no {name}", where=str(file), hint="Name an artifact of an adapter")
            (folder / name).write_bytes(archive.read(inside[0]))


def index_folders(recipe: RecipeConfig, results: Path) -> dict[str, list[Path]]:
    """Return the folders of what a recipe's pipeline searches: shards of indexes, and a fetched bi-encoder.

    BM25 scores are a feature of the ranking, so that the words are always there.
    """
    assert recipe.recall is not None
    count, members = recipe.recall.index_shards, recipe.recall.members
    kinds = ["words", *(["vectors"] if "dense" in members else [])]
    numbers = range(1, count + 1)
    folders = {kind: [results / "index" / kind / f"{number}-of-{count}" for number in numbers] for kind in kinds}
    fetched = "dense" in members and recipe.encoder is not None and recipe.encoder.hub is not None
    return folders | {"encoder": [results / "encoder"] if fetched else []}


@contextmanager
def deployed(run: RunConfig, recipe: str, model: str, fold: str) -> Iterator[Pipeline]:
    """Load the pipeline with the adapter that `best` means.

    Raises:
        FinetrailError: a part has not been made.
    """
    results, settings = run.results / recipe, result_keys(run.recipe(recipe))
    tiny = settings["base_model"]["tiny"] is not None
    base = results / "bases" / fold if tiny else results / "base_model"
    reranker = results / "reranker"
    indexes = index_folders(run.recipe(recipe), results)
    parts = (results / "passages.jsonl", reranker / "manifest.json", results / "fusion.json", base / "manifest.json")
    for part in (*parts, *(folder / "manifest.json" for folders in indexes.values() for folder in folders)):
        if not part.is_file():
            raise FinetrailError("has not been made", where=str(part), hint=f"Run: make run RECIPE={recipe}")
    with TemporaryDirectory() as scratch:
        unpack_adapter(best_artifact(run, recipe, model, fold), Path(scratch))
        with Pipeline(Places(parts[0], indexes, reranker, parts[2], base, Path(scratch)), settings) as pipeline:
            yield pipeline
