"""Digests of code: a script with every local module that it imports; an edit reruns exactly its users.

A module that declares `CHANGES_NO_RESULT` is left out, with what is imported through it alone. Imports are followed
wherever they stand (also inside functions), from the script's folder and from the root that PYTHONPATH names. Dynamic
imports and data files are not seen: the project uses neither in code.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from finetrail.digests.kept_sources import Known, know_source
from finetrail.errors import FinetrailError
from finetrail.rows.records import canonical_json, sha256_text

DIGEST_LENGTH = 12
# A file that was written this shortly before it was read may change again without a change of its time.
SETTLED_NS = 100_000_000

Stamp = tuple[int, int, int, int]


class _Parsed(NamedTuple):
    stamp: Stamp
    settled: bool
    source: Known


_PARSED: dict[str, _Parsed] = {}


class Names:
    """What was found in folders and under the names of modules: several digests may look at one state of a tree."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, bool]] = {}
        self.modules: dict[tuple[str, ...], frozenset[str]] = {}


def code_digest(script: Path, root: Path, names: Names | None = None) -> str:
    """Return the digest (12 hexadecimal digits) of a script and of all local modules that can change its result.

    Comments, docstrings, blank lines and times do not change it; it is the same on every Python version.

    Args:
        script: the script, under `root`.
        root: the folder that absolute imports start from.
        names: of the tree as other digests found it; none: it is looked at anew.

    Raises:
        FinetrailError: a file is missing or is not valid Python.
    """
    return sha256_text(canonical_json(tree_digests(result_files(script, root, names), root)))[:DIGEST_LENGTH]


def digest_files(script: Path, root: Path) -> dict[str, str]:
    """Return the digest of a script and of each local file that it imports, by the path relative to `root`, sorted."""
    return tree_digests(imported_files(script, root), root)


def tree_digests(files: Iterable[Path], root: Path) -> dict[str, str]:
    """Return the digest of each source file by its path relative to `root`, sorted."""
    start = str(root)
    return {_name(path, start): _parse(path, start).code[:DIGEST_LENGTH] for path in sorted(map(str, files))}


def imported_files(script: Path, root: Path) -> list[Path]:
    """Return a script and all local files that it imports, directly or through others, sorted."""
    return sorted(map(Path, _reached(_Resolver(script, root), str(script))))


def result_files(script: Path, root: Path, names: Names | None = None) -> list[Path]:
    """Return a script and those of its imports that `code_digest` covers, sorted; the arguments are the same.

    Left out are modules that declare `CHANGES_NO_RESULT`, and what is imported through them alone.
    """
    start = str(root)
    return sorted(
        map(
            Path,
            _reached(_Resolver(script, root, names), str(script), lambda file: _parse(file, start).changes_no_result),
        )
    )


def declared_files(files: Iterable[Path], root: Path) -> list[Path]:
    """Return those source files that declare `CHANGES_NO_RESULT`, sorted."""
    return [path for path in sorted(files) if _parse(str(path), str(root)).changes_no_result]


def _reached(resolver: "_Resolver", script: str, skipped: Callable[[str], bool] = lambda _: False) -> set[str]:
    """Follow the imports of a script; what is skipped is not followed either."""
    waiting, found = [script], {script}
    while waiting:
        new = {file for file in resolver.imports(waiting.pop()) - found if not skipped(file)}
        found |= new
        waiting += new
    return found


def direct_imports(file: Path, root: Path) -> list[Path]:
    """Return the local files that one file imports itself, with the __init__ files of packages, sorted."""
    return sorted(map(Path, _Resolver(file, root).imports(str(file)) - {str(file)}))


class _Resolver:
    """Finds the files that imports lead to, as Python does when it runs one script."""

    def __init__(self, script: Path, root: Path, names: Names | None = None) -> None:
        self._root = str(root)
        self._starts = list(dict.fromkeys([str(script.parent), self._root]))
        names = names or Names()
        self._listed, self._modules = names.folders, names.modules

    def imports(self, file: str) -> set[str]:
        """Return the local files that a file's import statements run."""
        found: set[str] = set()
        for statement in _parse(file, self._root).imports:
            parts = tuple(statement.module.split(".")) if statement.module else ()
            if statement.level:
                package = file
                for _ in range(statement.level):
                    package = package.rpartition("/")[0]
                found |= self._package(package) | self._statement(package, parts, statement.names)
            else:
                for start in self._starts:
                    found |= self._statement(start, parts, statement.names)
        return found

    def _statement(self, start: str, parts: tuple[str, ...], names: tuple[str, ...]) -> set[str]:
        """Return the files of a module, and of those names taken from it that are modules themselves."""
        found = set(self._module(start, parts))
        if "*" in names:
            names = tuple(name.removesuffix(".py") for name in self._listing("/".join((start, *parts))))
        for name in names:
            found |= self._module(start, (*parts, name))
        return found

    def _module(self, start: str, parts: tuple[str, ...]) -> frozenset[str]:
        key = (start, *parts)
        if key not in self._modules:
            self._modules[key] = frozenset(self._find(start, parts))
        return self._modules[key]

    def _find(self, start: str, parts: tuple[str, ...]) -> Iterator[str]:
        """Yield the files that importing a dotted name runs; a folder without __init__ is a namespace."""
        folder = start
        for part in parts:
            names = self._listing(folder)
            folder = f"{folder}/{part}"
            package = self._package(folder) if names.get(part) else set()
            if not package and names.get(f"{part}.py") is False:
                yield f"{folder}.py"
                return
            yield from package
            if part not in names:
                return

    def _package(self, folder: str) -> set[str]:
        return {f"{folder}/__init__.py"} if "__init__.py" in self._listing(folder) else set()

    def _listing(self, folder: str) -> dict[str, bool]:
        """Return the names in a folder, and whether each is a folder; nothing where there is no folder."""
        if folder not in self._listed:
            try:
                with os.scandir(folder) as entries:
                    self._listed[folder] = {entry.name: entry.is_dir() for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder] = {}
        return self._listed[folder]


def _parse(path: str, root: str) -> Known:
    """Parse a file, once a process as long as it does not change."""
    try:
        status = os.stat(path)  # noqa: PTH116 (thousands of calls: Path would double their cost)
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        known = _PARSED.get(path)
        if known is not None and known.settled and known.stamp == stamp:
            return known.source
        settled = status.st_ctime_ns < time.time_ns() - SETTLED_NS
        raw = Path(path).read_bytes()
    except OSError as error:
        raise FinetrailError(f"cannot be read: {error.strerror}", where=path) from error
    source = know_source(raw, f"{Path(root).name}/{_name(path, root)}")
    _PARSED[path] = _Parsed(stamp, settled, source)
    return source


def _name(path: str, root: str) -> str:
    """Return a path relative to the root, so that no machine's folders enter a digest."""
    if not path.startswith(f"{root}/"):
        raise FinetrailError(f"the file is not under {root}", where=path)
    return path[len(root) + 1 :]
