"""Original files that must be there before a run: local images need not, where images are fetched."""

from pathlib import Path

import pytest

from finetrail.config.load import load_config
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
