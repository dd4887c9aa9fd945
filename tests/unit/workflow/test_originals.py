"""Original files that must be there before a run: local images need not, where images are fetched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.config.load import load_config
from finetrail.config.sections.schema import plain
from finetrail.config.warnings import references
from finetrail.workflow.originals import missing_files
from finetrail.workflow.traits import needed_paths
from tests.workspace import ROOT


def test_local_images_need_not_be_there_where_images_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = load_config(ROOT, config={"recipes": "[crag_mm, weatherqa]"})
    said = list(missing_files(run))
    assert not [line for line in said if line.startswith("crag_mm: source.images")]
    assert [line for line in said if line.startswith("crag_mm: source.files")]
    assert [line for line in said if line.startswith("weatherqa: source.images")], "there all images are local files"
    folder = Path("data/crag_mm/v0.1.2/images")
    assert needed_paths(run.recipe("crag_mm"), "images") == []
    folder.mkdir(parents=True)
    assert needed_paths(run.recipe("crag_mm"), "images") == [folder], "what is there counts"


def models_of_the_hub(tree: Any) -> Iterator[tuple[str, str]]:
    """Yield every model that a recipe takes from the hub, with its commit."""
    if isinstance(tree, dict):
        if tree.get("hub"):
            yield tree["hub"], tree["revision"]
        for value in tree.values():
            yield from models_of_the_hub(value)


def test_the_page_of_data_names_all_that_the_published_recipes_fetch() -> None:
    page = (ROOT / "data" / "README.md").read_text()
    names = sorted(path.stem for path in (ROOT / "config" / "recipes").glob("*.yaml"))
    run = load_config(ROOT, config={"recipes": names, "scale": "full"})
    for name, recipe in run.recipes.items():
        served = [one for _, one in references(recipe) if run.endpoint(one.endpoint).is_own_server]
        models = {*models_of_the_hub(plain(recipe)), *((one.model, str(one.revision)) for one in served)}
        assert models
        for hub, revision in models:
            assert f"`hf download {hub} --revision {revision}`" in page, name
        missing = [path for path in (*recipe.source.files, *recipe.source.held_out) if not (ROOT / path).exists()]
        assert all(f"{Path(path).name}`" in page for path in missing), name
