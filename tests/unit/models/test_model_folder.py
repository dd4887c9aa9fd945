"""A folder that wants to run its own code, or holds pickles: nothing of it runs, nobody is asked, and why is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetrail.errors import FinetrailError
from finetrail.models.base import load_base
from finetrail.models.base_model import BaseModel
from finetrail.models.model_folder import load_adapter, read_processor, stored_parameters
from finetrail.rows.artifacts import write_manifest
from finetrail.rows.records import sha256_file
from tests.unit.export.tiny_models import build_model

pytestmark = pytest.mark.heavy

CODE = """
from pathlib import Path
Path({mark!r}).write_text("it ran")
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer:
    pass
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("whole"), "llama")


@pytest.fixture
def planted(whole: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model folder with code of its own, and the file that the code would write."""
    folder, mark = shutil.copytree(whole, tmp_path / "model"), tmp_path / "mark"
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    classes = {"AutoTokenizer": ["own.OwnTokenizer", None], "AutoProcessor": "own.OwnTokenizer"}
    changed = {"auto_map": classes, "tokenizer_class": "OwnTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | changed))
    return folder, mark


@pytest.mark.parametrize(
    "opened",
    [
        lambda folder: BaseModel(folder).config,
        lambda folder: BaseModel(folder).tokenizer,
        lambda folder: load_base(folder, "float32"),
        read_processor,
    ],
    ids=["configuration", "tokenizer", "weights", "processor"],
)
def test_code_in_a_models_folder_never_runs_and_nobody_is_asked(
    opened: Callable[[Path], Any], planted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mark = planted

    def asked(*_: Any) -> str:
        raise AssertionError("it asked on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    with pytest.raises(FinetrailError, match=f"{folder}: the model"):
        opened(folder)
    assert not mark.exists()


def test_the_cause_is_named(planted: tuple[Path, Path]) -> None:
    with pytest.raises(FinetrailError, match="wants to run code of its own, which finetrail never does"):
        _ = BaseModel(planted[0]).config


def test_pickled_weights_are_not_read(whole: Path, tmp_path: Path) -> None:
    import torch

    folder = shutil.copytree(whole, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(FinetrailError, match="cannot be read as safetensors"):
        load_base(folder, "float32")
    (tmp_path / "adapter").mkdir()
    torch.save({}, tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(FinetrailError, match=r"there is no adapter_model\.safetensors"):
        load_adapter(load_base(whole, "float32"), tmp_path / "adapter")


def test_the_parameters_are_counted_by_the_headers_alone(whole: Path, tmp_path: Path) -> None:
    """Each tensor once, also in shards and in bf16; tied heads are stored once."""
    import torch

    model = load_base(whole, torch.bfloat16)
    wanted = sum(weight.numel() for weight in model.parameters())
    model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert BaseModel(whole).parameters == BaseModel(tmp_path / "shards").parameters == wanted
    for path in whole.glob("*.json"):
        shutil.copyfile(path, tmp_path / path.name)
    assert BaseModel(tmp_path).parameters is None, "as preflight fetches it"


def test_weights_that_are_not_whole_are_refused_by_their_headers(whole: Path, tmp_path: Path) -> None:
    import torch

    load_base(whole, torch.float32).save_pretrained(tmp_path, max_shard_size="100KB")
    first, second, *_ = sorted(tmp_path.glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-10])
    with pytest.raises(FinetrailError, match=rf"{first.name}: the weights are not whole"):
        stored_parameters(tmp_path)
    first.unlink()
    second.unlink()
    with pytest.raises(FinetrailError, match=rf"{first.name}: a file of the weights is missing"):
        stored_parameters(tmp_path)


def test_what_a_manifest_was_held_to_is_not_hashed_again(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "model")
    write_manifest(folder, folder / "manifest.json", {})
    base = BaseModel.verified(folder / "manifest.json")
    (folder / "model.safetensors").write_bytes(b"edited since")
    assert base.digests["model.safetensors"] == BaseModel(whole).digests["model.safetensors"]
    assert base.digests["manifest.json"] == sha256_file(folder / "manifest.json"), "what it does not list is hashed"
    with pytest.raises(FinetrailError, match="differs from its manifest"):
        BaseModel.verified(folder / "manifest.json")
