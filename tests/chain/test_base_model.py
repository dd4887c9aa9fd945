"""A base model in a local folder: an edit of it is seen."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.export.tiny_models import build_model
from tests.workspace import RESULTS, Workspace

Copy = Callable[[Workspace], Workspace]

MANIFEST = str(RESULTS / "base_model/manifest.json")
CHOICE = {"tiny: llama": "path: data/model", "  pretrain_steps": "  # pretrain_steps"}


def with_local_base(workspace: Workspace) -> tuple[Workspace, Path, dict[str, Any]]:
    """Let the tutorial begin with a model in a local folder; return the folder and its configuration, too."""
    workspace.configfiles = ()
    for old, new in CHOICE.items():
        workspace.edit("config/tutorial/crag_mm.yaml", old, new)
    folder = build_model(workspace.root / "data/model", "llama", max_position_embeddings=1024)
    return workspace, folder, json.loads((folder / "config.json").read_text())


def test_an_edited_folder_is_fetched_again(fresh: Workspace, copy_of: Copy) -> None:
    workspace, folder, config = with_local_base(copy_of(fresh))
    assert workspace.executed(MANIFEST) == {"fetch_model": 1}
    assert workspace.executed(MANIFEST) == {}
    (folder / "config.json").write_text(json.dumps(config | {"edited": True}))
    assert workspace.executed(MANIFEST) == {"fetch_model": 1}


def test_a_base_that_cannot_be_exported_is_refused_before_the_first_job(fresh: Workspace, copy_of: Copy) -> None:
    """By a dry run, by the plan and by a run; the message names the key and the file."""
    workspace, folder, config = with_local_base(copy_of(fresh))
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["Gemma3ForCausalLM"]}))
    for options in (("-n",), ()):
        said = workspace.snakemake(MANIFEST, *options, fails=True)
        assert "recipes.crag_mm.export.format (" in said
        assert "the architecture Gemma3ForCausalLM cannot be written as GGUF" in said
        assert "rule fetch_model" not in said
