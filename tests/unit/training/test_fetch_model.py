"""A local base model: copied, so that the user's files and the published ones never share their bytes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]


def fetch(run_script: Run, folder: Path) -> subprocess.CompletedProcess[str]:
    choice = {"base_model": {"hub": None, "revision": None, "path": str(folder)}}
    outputs = ("--manifest", "base/manifest.json", "--meta", "base.meta.json")
    return run_script("train/fetch_model.py", "--settings", json.dumps(choice), *outputs)


def test_the_originals_are_left_as_they_are(run_script: Run, tmp_path: Path) -> None:
    original = tmp_path / "model" / "config.json"
    original.parent.mkdir()
    original.write_text("{}")
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
    done = fetch(run_script, tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "base/config.json").is_symlink()
    assert [entry["path"] for entry in json.loads((tmp_path / "base/manifest.json").read_text())["files"]] == [
        "config.json"
    ]
