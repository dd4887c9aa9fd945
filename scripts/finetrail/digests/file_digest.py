"""Digests of files that are no code: environment files by what they say, original files by their content."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from finetrail.config.yaml_lines import read_yaml
from finetrail.digests.code_digest import DIGEST_LENGTH, SETTLED_NS
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import write_json
from finetrail.rows.records import CHUNK_BYTES, canonical_json, sha256_text

Cache = dict[str, list[Any]]


def env_digest(path: Path) -> str:
    """Return the digest (12 hexadecimal digits) of what an environment file says; comments do not count.

    Raises:
        FinetrailError: the file is missing or is not valid YAML.
    """
    return sha256_text(canonical_json(read_yaml(path)))[:DIGEST_LENGTH]


def source_digest(paths: Iterable[Path], cache_file: Path) -> str:
    """Return the digest (12 hexadecimal digits) of original input files or folders, in order.

    A file counts by its content, whatever its times. Where `<path>.dvc` stands beside it, the pointer's MD5
    is taken while the data are not here, and the data's own MD5 when they are, so that a pull changes nothing
    and an edit does. A folder with a pointer counts by the pointer alone, any other by its files.

    Args:
        paths: relative to the project, so that no machine's folders enter the digest.
        cache_file: remembers digests by size, times and inode; it may be removed at any time.

    Raises:
        FinetrailError: a path is missing and has no pointer, or a pointer cannot be read.
    """
    cache = _read_cache(cache_file)
    before = dict(cache)
    digests = [[path.as_posix(), _digest(path, cache)] for path in paths]
    if cache != before:
        write_json(cache_file, cache)
    return sha256_text(canonical_json(digests))[:DIGEST_LENGTH]


def _digest(path: Path, cache: Cache) -> str:
    pointer = path.with_name(f"{path.name}.dvc")
    if pointer.exists():
        return _pointer_digest(path, pointer, cache)
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): file for file in _files(path)}
        return sha256_text(canonical_json({name: _content("sha256", files[name], cache) for name in sorted(files)}))
    return _content("sha256", path, cache)


def _pointer_digest(path: Path, pointer: Path, cache: Cache) -> str:
    outs = read_yaml(pointer).get("outs")
    entry = outs[0] if isinstance(outs, list) and len(outs) == 1 and isinstance(outs[0], dict) else {}
    if not isinstance(entry.get("md5"), str):
        raise FinetrailError("no MD5 of one output in the DVC pointer", where=str(pointer), hint="Run dvc add again")
    recorded = f"md5:{entry['md5']}"
    # Before DVC 3 (no `hash` key) the line ends of a text were changed before its MD5 was taken.
    comparable = entry.get("hash") == "md5" and path.is_file()
    return _content("md5", path, cache) if comparable else recorded


def _content(algorithm: str, path: Path, cache: Cache) -> str:
    """Return `<algorithm>:<hex>` of a file's content, from the cache while size, times and inode stay."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")  # a name may be no UTF-8
    try:
        status = path.stat()
        stamp = [algorithm, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = cache.get(name)
        if known is not None and known[:-1] == stamp:
            return str(known[-1])
        settled = status.st_ctime_ns < time.time_ns() - SETTLED_NS
        digest = f"{algorithm}:{_hash(algorithm, path)}"
    except OSError as error:
        hint = "Put the file there, or run `dvc pull` where the project has pointers"
        raise FinetrailError(f"cannot be read: {error.strerror}", where=name, hint=hint) from error
    if settled:
        cache[name] = [*stamp, digest]
    return digest


def _hash(algorithm: str, path: Path) -> str:
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            state.update(piece)
    return state.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _read_cache(path: Path) -> Cache:
    """Read the cache; a missing or damaged one is an empty one, for it can be made again."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(entries, dict) and all(isinstance(entry, list) and len(entry) == 6 for entry in entries.values())
    return entries if whole else {}
