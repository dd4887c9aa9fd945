"""What the export tests share: one converted model of every architecture."""

from pathlib import Path

import pytest

from finetrail.export.gguf_writer import convert_to_gguf
from tests.unit.export.tiny_models import VARIANTS, build_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder an architecture, with ``model.gguf`` (F32) in it; llama's weights are in shards."""
    folders = {}
    for architecture in VARIANTS:
        folder = tmp_path_factory.mktemp(architecture)
        build_model(folder, architecture, shard="100KB" if architecture == "llama" else "1GB")
        convert_to_gguf(folder, folder / "model.gguf")
        folders[architecture] = folder
    return folders
