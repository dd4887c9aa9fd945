"""Digests of environment files and of original input files."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from finetrail.digests.code_digest import SETTLED_NS
from finetrail.digests.file_digest import env_digest, source_digest
from finetrail.errors import FinetrailError

ENV = "channels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip:\n      - numpy==2.4.6\n"


def write(path: Path, content: bytes, when: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (when, when))
    return path


def test_an_environment_counts_by_what_it_says(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return env_digest(write(tmp_path / "data.yaml", text.encode()))

    first = digest(ENV)
    assert len(first) == 12
    assert digest("# why\n" + ENV.replace("python=3.11", "python=3.11  # pinned")) == first
    assert digest(ENV.replace("2.4.6", "2.4.7")) != first


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path()


CACHE = Path("cache/sources.json")


def test_the_content_counts_and_not_the_time(folder: Path) -> None:
    path = write(folder / "rows.jsonl", b"one\n")
    first = source_digest([path], CACHE)
    os.utime(path, (2000, 2000))
    assert source_digest([path], CACHE) == first
    write(path, b"two\n", when=500)
    assert source_digest([path], CACHE) != first
    write(path, b"one\n", when=400)
    assert source_digest([path], CACHE) == first


def settle(path: Path) -> None:
    """Wait until a file is old enough to be remembered: its change time cannot be set."""
    while time.time_ns() - path.stat().st_ctime_ns < 2 * SETTLED_NS:
        time.sleep(0.02)


def test_the_cache_spares_the_reading(folder: Path) -> None:
    path = write(folder / "rows.jsonl", b"one\n")
    settle(path)
    first = source_digest([path], CACHE)
    entries = json.loads(CACHE.read_text(encoding="utf-8"))
    entries["rows.jsonl"][-1] = "sha256:remembered"
    CACHE.write_text(json.dumps(entries), encoding="utf-8")
    assert source_digest([path], CACHE) != first
    os.utime(path, (3000, 3000))
    assert source_digest([path], CACHE) == first


def test_an_edit_that_keeps_size_time_and_inode_is_seen(folder: Path) -> None:
    path = write(folder / "rows.jsonl", b"one\n")
    settle(path)
    first = source_digest([path], CACHE)
    inode = path.stat().st_ino
    with path.open("r+b") as stream:
        stream.write(b"two\n")
    os.utime(path, (1000, 1000))
    assert path.stat().st_ino == inode
    assert source_digest([path], CACHE) != first


def test_a_file_of_this_moment_is_not_remembered(folder: Path) -> None:
    source_digest([write(folder / "rows.jsonl", b"one\n")], CACHE)
    assert not CACHE.exists()


@pytest.mark.parametrize("damage", [b"", b"[1", b"[]", b'{"rows.jsonl": ["sha256", 1]}', b"\xff"])
def test_a_damaged_cache_is_made_again(folder: Path, damage: bytes) -> None:
    path = write(folder / "rows.jsonl", b"one\n")
    first = source_digest([path], CACHE)
    CACHE.parent.mkdir(exist_ok=True)
    CACHE.write_bytes(damage)
    assert source_digest([path], CACHE) == first


def test_names_and_order_count(folder: Path) -> None:
    a, b = write(folder / "a", b"1"), write(folder / "b", b"2")
    assert source_digest([a, b], CACHE) != source_digest([b, a], CACHE)
    write(a, b"2")
    assert source_digest([a], CACHE) != source_digest([b], CACHE)


def test_a_folder_counts_by_its_files(folder: Path) -> None:
    write(folder / "images/x/1.png", b"1")
    write(folder / "images/2.png", b"2")
    first = source_digest([folder / "images"], CACHE)
    os.utime(folder / "images/2.png", (5, 5))
    assert source_digest([folder / "images"], CACHE) == first
    write(folder / "images/3.png", b"3")
    assert source_digest([folder / "images"], CACHE) != first


def pointer(path: Path, md5: str, more: str = "  hash: md5\n") -> None:
    write(
        path.with_name(f"{path.name}.dvc"),
        f"outs:\n- md5: {md5}\n  size: 4\n{more}  path: {path.name}\n".encode(),
    )


def test_a_pointer_stands_for_data_that_are_not_here(folder: Path) -> None:
    path = write(folder / "rows.jsonl", b"one\n")
    pointer(path, hashlib.md5(b"one\n").hexdigest())
    here = source_digest([path], CACHE)
    path.unlink()
    assert source_digest([path], CACHE) == here
    write(path, b"two\n")
    assert source_digest([path], CACHE) != here


def test_a_pointer_that_cannot_be_compared_is_believed(folder: Path) -> None:
    path = write(folder / "rows.jsonl", b"one\r\n")
    pointer(path, "0" * 32, more="")
    here = source_digest([path], CACHE)
    path.unlink()
    assert source_digest([path], CACHE) == here


def test_missing_files_and_bad_pointers_are_named(folder: Path) -> None:
    with pytest.raises(FinetrailError, match=r"rows\.jsonl: cannot be read: No such file"):
        source_digest([folder / "rows.jsonl"], CACHE)
    write(folder / "rows.jsonl.dvc", b"outs: []\n")
    with pytest.raises(FinetrailError, match=r"rows\.jsonl\.dvc: no MD5"):
        source_digest([folder / "rows.jsonl"], CACHE)
