import stat
from pathlib import Path

import pytest

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import (
    UMASK,
    atomic_path,
    check_manifest,
    publish_folder,
    read_json,
    write_json,
    write_manifest,
)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "rows.jsonl"
    final.write_text("old")

    def fail() -> None:
        with atomic_path(final) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_published_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a" / "b.txt") as temporary:
        temporary.touch(mode=0o600)
    assert stat.S_IMODE((tmp_path / "a" / "b.txt").stat().st_mode) == 0o666 & ~UMASK


def test_a_manifest_names_what_changed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "weights").write_bytes(b"1234")
    (folder / "config.json").write_text("{}")
    manifest = folder / "manifest.json"
    content = write_manifest(folder, manifest, {"kind": "base"})
    assert [entry["path"] for entry in content["files"]] == ["config.json", "sub/weights"]
    assert check_manifest(folder, manifest)["kind"] == "base"
    (folder / "sub" / "weights").write_bytes(b"1235")
    with pytest.raises(FinetrailError, match="sub/weights: differs from its manifest"):
        check_manifest(folder, manifest)
    (folder / "sub" / "weights").unlink()
    with pytest.raises(FinetrailError, match="not on disk"):
        check_manifest(folder, manifest)


def test_an_empty_folder_has_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FinetrailError, match="holds no file"):
        write_manifest(tmp_path / "empty", tmp_path / "empty" / "manifest.json", {})


def test_a_published_folder_holds_the_new_files_only(tmp_path: Path) -> None:
    old, new = tmp_path / "final", tmp_path / "fresh"
    (old / "sub").mkdir(parents=True)
    new.mkdir()
    for name in ("stale", "sub/stale", "kept", "manifest.json"):
        (old / name).write_text("old")
    (new / "kept").write_text("new")
    publish_folder(new, old)
    assert [path.name for path in old.rglob("*") if path.is_file()] == ["kept"]
    assert (old / "kept").read_text() == "new"


def test_json_must_be_finite_and_readable(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(FinetrailError, match=r"x\.json: is not valid JSON"):
        read_json(tmp_path / "x.json")
