"""Pulled files against their pins, and calls that two people paid for."""

import hashlib
import json
from pathlib import Path

import pytest

from finetrail.digests.pinned_files import Pinned, SetAside, locked_outputs, pinned_files, pointed_output, unfaithful
from finetrail.errors import FinetrailError


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Pinned:
    """A folder of two files, with its list in the cache."""
    entries = []
    for name in ("a.txt", "deep/b.txt"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        entries.append({"md5": md5(name.encode()), "relpath": name})
    content = json.dumps(entries).encode()
    listed = tmp_path / "cache" / md5(content)[:2] / f"{md5(content)[2:]}.dir"
    listed.parent.mkdir(parents=True)
    listed.write_bytes(content)
    return Pinned(tmp_path / "folder", f"{md5(content)}.dir")


def test_files_as_pinned_are_faithful(folder: Pinned, tmp_path: Path) -> None:
    single = Pinned(tmp_path / "folder/a.txt", md5(b"a.txt"))
    assert list(unfaithful([folder, single], tmp_path / "cache")) == []


def test_missing_and_other_bytes_are_named(folder: Pinned, tmp_path: Path) -> None:
    (folder.path / "a.txt").write_text("A.txt")
    (folder.path / "deep/b.txt").unlink()
    assert dict(unfaithful([folder], tmp_path / "cache")) == {
        folder.path / "a.txt": "has other bytes than were pinned",
        folder.path / "deep/b.txt": "is missing",
    }


def test_a_damaged_list_of_a_folder_is_named(folder: Pinned, tmp_path: Path) -> None:
    (listed,) = (tmp_path / "cache").rglob("*.dir")
    listed.write_text("[]")
    ((path, reason),) = unfaithful([folder], tmp_path / "cache")
    assert path == folder.path and "is damaged" in reason and "Remove it, then pull again" in reason
    listed.unlink()
    ((path, reason),) = unfaithful([folder], tmp_path / "cache")
    assert "cannot be read" in reason


def test_the_lock_and_pointers_are_read(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text(
        "schema: '2.0'\nstages:\n  one:\n    cmd: x\n    outs:\n    - path: results/one/a\n      md5: abc\n"
    )
    assert locked_outputs(lock, ["one"]) == [Pinned(Path("results/one/a"), "abc")]
    with pytest.raises(FinetrailError, match=r"nothing was pushed yet of two.*make push"):
        locked_outputs(lock, ["one", "two"])
    with pytest.raises(FinetrailError, match="nothing was pushed yet of one"):
        locked_outputs(tmp_path / "none.lock", ["one"])
    pointer = tmp_path / "calls.dvc"
    pointer.write_text("outs:\n- md5: abc.dir\n  hash: md5\n  path: calls\n")
    assert pointed_output(pointer) == Pinned(tmp_path / "calls", "abc.dir")


def test_calls_are_united(tmp_path: Path) -> None:
    store, aside = tmp_path / "calls", SetAside(tmp_path / "calls", tmp_path / "aside")
    store.mkdir()
    for name in ("shared", "own", "differs"):
        (store / name).write_text(name)
    aside.take({store / "shared": md5(b"shared"), store / "differs": md5(b"theirs"), store / "new": md5(b"new")})
    assert [path.name for path in store.iterdir()] == ["shared"]
    for name, content in (("new", "new"), ("differs", "theirs")):
        (store / name).write_text(content)
    assert aside.give_back() == [tmp_path / "aside/differs"], "kept, and named"
    assert {path.name: path.read_text() for path in store.iterdir()} == {
        "shared": "shared", "own": "own", "new": "new", "differs": "theirs",
    }  # fmt: skip


def test_what_an_interrupted_pull_left_aside_comes_back(tmp_path: Path) -> None:
    aside = SetAside(tmp_path / "calls", tmp_path / "aside")
    assert aside.give_back() == []
    (tmp_path / "aside/deep").mkdir(parents=True)
    (tmp_path / "aside/deep/own").write_text("own")
    assert aside.give_back() == []
    assert (tmp_path / "calls/deep/own").read_text() == "own"
    assert not (tmp_path / "aside").exists()


def test_a_single_file_is_its_own_list(tmp_path: Path) -> None:
    assert pinned_files(Pinned(Path("a"), "abc"), tmp_path) == {Path("a"): "abc"}
