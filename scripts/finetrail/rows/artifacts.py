"""Artifacts are published whole: written under a temporary name, synced, renamed, and described."""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.records import sha256_file

MANIFEST_NAME = "manifest.json"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()


def temporary_name(final: Path) -> Path:
    """Return an unused hidden name beside a file, so that a rename stays on one file system."""
    return final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def sync_path(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_file(temporary: Path, final: Path) -> None:
    """Sync a finished temporary file, give it the mode of the umask and move it to its name."""
    temporary.chmod(0o666 & ~UMASK)
    sync_path(temporary)
    temporary.replace(final)
    sync_path(final.parent)


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `final` when the block ends well, and vanishes when it does not."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(final)
    try:
        yield temporary
        publish_file(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def render_json(value: object) -> str:
    """Render a value as the JSON that people read: indented, UTF-8, a newline at the end."""
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(render_json(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FinetrailError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FinetrailError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise FinetrailError(f"is not valid JSON: {error}", where=str(path)) from error


def describe_file(path: Path) -> dict[str, Any]:
    """Describe a file by its path, size in bytes and SHA-256."""
    return {"path": path.as_posix(), "bytes": path.stat().st_size, "sha256": sha256_file(path)}


def folder_files(folder: Path) -> list[Path]:
    """List the files under a folder in a fixed order, without manifests and temporary files."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in files if path.name != MANIFEST_NAME and not path.name.startswith("."))


def write_manifest(folder: Path, manifest: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a finished folder in a manifest, which rules use as the folder's one output.

    Args:
        folder: the folder whose files are listed, relative to it.
        manifest: where the manifest goes; written last.
        facts: what else the manifest says; values must not depend on time or place.

    Raises:
        FinetrailError: the folder holds no file.
    """
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in folder_files(folder)
    ]
    if not files:
        raise FinetrailError("the folder holds no file", where=str(folder))
    content = {**facts, "files": files}
    write_json(manifest, content)
    return content


def check_manifest(folder: Path, manifest: Path) -> dict[str, Any]:
    """Compare a folder with its manifest before it is used.

    Raises:
        FinetrailError: a file is missing or its bytes differ, by name.
    """
    content: dict[str, Any] = read_json(manifest)
    for entry in content["files"]:
        path = folder / entry["path"]
        if not path.is_file():
            raise FinetrailError("is in the manifest and not on disk", where=str(path), hint="Make the folder again")
        if path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
            raise FinetrailError("differs from its manifest", where=str(path), hint="Make the folder again")
    return content


def publish_folder(temporary: Path, final: Path, keep: Callable[[Path], bool] = lambda _: False) -> None:
    """Move the files of a finished folder into place, one by one, and drop what the old one had besides.

    A folder cannot be renamed over another, so the manifest that is written afterwards is what makes it valid.

    Args:
        temporary: the finished folder, on the same file system.
        final: where its files go.
        keep: whether an old file that the new folder lacks stays.
    """
    final.mkdir(parents=True, exist_ok=True)
    (final / MANIFEST_NAME).unlink(missing_ok=True)
    fresh = {path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file()}
    for old in [path for path in final.rglob("*") if path.is_file()]:
        if old.relative_to(final) not in fresh and not keep(old):
            old.unlink()
    for relative in sorted(fresh):
        target = final / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        publish_file(temporary / relative, target)
