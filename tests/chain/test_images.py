"""Records with local images, in the layout of an official session: shown to the model, and part of the source."""

import json
from collections.abc import Callable

import pytest

from tests.unit.small_png import small_png
from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]

RECORDS = str(RESULTS / "records.jsonl")
QUERIES = str(RESULTS / "queries.jsonl")
PNG = small_png(8, 8)  # only the head of an image is read before it is sent


@pytest.fixture(scope="module")
def with_images(fresh: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two sessions with an image each have got their queries."""
    workspace = fresh.copy(tmp_path_factory.mktemp("images") / "project")
    images = workspace.root / "data" / "img"
    images.mkdir()
    rows = []
    for number in (1, 2):
        (images / f"{number}.png").write_bytes(PNG + bytes([number]))
        turn = {"interaction_id": f"s{number}-1"}
        turns = [turn | {"query": f"When was bridge {number} opened?"}]
        answers = [turn | {"ans_full": "In 1937."}]
        rows.append({"session_id": f"s{number}", "image": f"{number}.png", "turns": turns, "answers": answers})
    (workspace.root / "data/crag_mm/turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    workspace.config += ["overrides={crag_mm: {source: {images: data/img}}}"]
    assert workspace.executed(QUERIES) == {"ingest_records": 1, "make_queries": 1}
    return workspace


def test_local_images_reach_the_model(with_images: Workspace) -> None:
    assert [row["image"]["path"] for row in with_images.rows("queries.jsonl")] == ["1.png", "2.png"]
    assert with_images.meta("queries.meta.json")["llm"]["calls_made"] == 2


def test_an_image_that_changed_is_read_again(with_images: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_images)
    image = workspace.root / "data/img/1.png"
    image.write_bytes(PNG + b"other")
    assert workspace.executed(RECORDS) == {"ingest_records": 1}
    assert workspace.executed(RECORDS) == {}
    image.unlink()
    assert "image '1.png' is missing" in workspace.snakemake(RECORDS, fails=True)


def test_an_images_folder_that_is_not_there_is_named(with_images: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(with_images)
    (workspace.root / "data/img").rename(workspace.root / "data/gone")
    assert "source.images: data/img does not exist" in workspace.snakemake(RECORDS, fails=True)
