"""What source files say, kept by the SHA-256 of their bytes: a later run parses only what was edited since."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from finetrail.digests import source_text
from finetrail.digests.source_text import Import, read_source
from finetrail.rows.artifacts import atomic_path
from finetrail.rows.records import sha256_file, sha256_text

CHANGES_NO_RESULT = "It returns what `read_source` says of the same bytes, whether that was kept or not."

KEPT_SOURCES = Path(".snakemake/finetrail_code.json")
"""In the folder that a workflow runs in; it may be removed at any time."""


class Known(NamedTuple):
    """What the digests need of a source.

    Attributes:
        code: SHA-256 of its code, see `finetrail.digests.source_text.Source`.
        imports, changes_no_result: as there.
    """

    code: str
    imports: tuple[Import, ...]
    changes_no_result: bool


_KNOWN: dict[str, Known] = {}
_USED: set[str] = set()
_KEPT: set[str] = set()


def know_source(raw: bytes, name: str) -> Known:
    """Return what a source file says; the same bytes are parsed once.

    Args:
        raw: its bytes.
        name: how messages call it.

    Raises:
        FinetrailError: see `finetrail.digests.source_text.read_source`.
    """
    digest = hashlib.sha256(raw).hexdigest()
    if digest not in _KNOWN:
        source = read_source(raw, name)
        _KNOWN[digest] = Known(sha256_text(source.code), source.imports, source.changes_no_result)
    _USED.add(digest)
    return _KNOWN[digest]


def take_kept_sources(file: Path) -> None:
    """Take what a file keeps; nothing of one that is missing or damaged, or that another parser wrote."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["parser"] == _parser():
            found = {digest: _known(*entry) for digest, entry in kept["sources"].items()}
            _KNOWN.update(found)
            _KEPT.update(found)


def keep_sources(file: Path) -> None:
    """Write what was asked for where some of it is new; a folder that cannot be written keeps nothing."""
    if _USED - _KEPT:
        sources = {digest: _KNOWN[digest] for digest in sorted(_USED)}
        with suppress(OSError), atomic_path(file) as temporary:
            temporary.write_text(json.dumps({"parser": _parser(), "sources": sources}), encoding="utf-8")


def _known(code: str, imports: list[tuple[str, list[str], int]], changes_no_result: bool) -> Known:
    return Known(
        code, tuple(Import(module, tuple(names), level) for module, names, level in imports), changes_no_result
    )


def _parser() -> str:
    """Return what decides what is read from the same bytes."""
    return sha256_file(Path(source_text.__file__))
