"""A base model in a local folder: an edit of it is seen."""

from collections.abc import Callable

from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]

MANIFEST = str(RESULTS / "base_model/manifest.json")
CHOICE = {"tiny: llama": "path: data/model", "  pretrain_steps": "  # pretrain_steps"}


def test_an_edited_folder_is_fetched_again(fresh: Workspace, copy_of: Copy) -> None:
    workspace = copy_of(fresh)
    workspace.configfiles = ()
    for old, new in CHOICE.items():
        workspace.edit("config/tutorial/crag_mm.yaml", old, new)
    folder = workspace.root / "data/model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert workspace.executed(MANIFEST) == {"fetch_model": 1}
    assert workspace.executed(MANIFEST) == {}
    (folder / "config.json").write_text('{"edited": true}')
    assert workspace.executed(MANIFEST) == {"fetch_model": 1}
