"""A local base model: copied, so that the user's files and the published ones never share their bytes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetrail.chat.chat_layout import LAYOUTS

Run = Callable[..., subprocess.CompletedProcess[str]]

NO_TENSOR = (2).to_bytes(8, "little") + b"{}"
"""A file of weights that holds none: the length of its header, and the header."""


def fetch(run_script: Run, folder: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    tokenizer: dict[str, Any] = {"template": None, "family": None, "pad_token": None, "new_tokens": []}
    choice = {"base_model": {"hub": None, "revision": None, "path": str(folder)} | tokenizer | changes}
    outputs = ("--manifest", "base/manifest.json", "--meta", "base.meta.json")
    return run_script("train/fetch_model.py", "--settings", json.dumps(choice), *outputs)


def test_weights_that_were_copied_in_part_are_refused(run_script: Run, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(NO_TENSOR[:-1])
    done = fetch(run_script, model)
    assert done.returncode == 1 and "the weights are not whole" in done.stderr


def test_the_originals_are_left_as_they_are(run_script: Run, tmp_path: Path) -> None:
    original = tmp_path / "model" / "config.json"
    original.parent.mkdir()
    original.write_text("{}")
    (original.parent / "model.safetensors").write_bytes(NO_TENSOR)
    original.chmod(0o600)
    done = fetch(run_script, original.parent)
    assert done.returncode == 0, done.stderr
    original.write_text("edited")
    assert (tmp_path / "base/config.json").read_text() == "{}"
    assert original.stat().st_mode & 0o777 == 0o600


def test_a_snapshot_of_links_is_followed(run_script: Run, tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("{}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to(tmp_path / "blob")
    (tmp_path / "weights").write_bytes(NO_TENSOR)
    (tmp_path / "model" / "model.safetensors").symlink_to(tmp_path / "weights")
    done = fetch(run_script, tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "base/config.json").is_symlink()
    manifest = json.loads((tmp_path / "base/manifest.json").read_text())
    assert [entry["path"] for entry in manifest["files"]] == ["config.json", "model.safetensors"]


def test_only_what_a_download_would_take_is_copied(run_script: Run, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "modeling_own.py", "pytorch_model.bin", "run.sh", "notes.pkl"):
        (model / name).write_bytes(NO_TENSOR if name == "model.safetensors" else b"{}")
    assert fetch(run_script, model).returncode == 0
    copied = {path.name for path in (tmp_path / "base").iterdir()}
    assert copied == {"config.json", "model.safetensors", "manifest.json"}
    (model / "model.safetensors").unlink()
    done = fetch(run_script, model)
    assert done.returncode == 1 and "holds no weights as safetensors" in done.stderr


def test_a_template_is_written_into_the_copy_and_recorded(run_script: Run, base_dir: Path, tmp_path: Path) -> None:
    ran = fetch(run_script, base_dir, template="llama3_1", pad_token="<|end_of_text|>")
    assert ran.returncode == 0, ran.stderr
    manifest = json.loads((tmp_path / "base" / "manifest.json").read_text())
    changed: dict[str, Any] = {"template": "llama3_1", "family": None, "pad_token": "<|end_of_text|>", "new_tokens": []}
    assert manifest["tokenizer"] == changed
    template = (tmp_path / "base" / "chat_template.jinja").read_text()
    assert template == LAYOUTS["llama3_1"].jinja != (base_dir / "chat_template.jinja").read_text()
