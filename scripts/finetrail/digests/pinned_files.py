"""What DVC's lock and pointer files say that is here, and whether it is.

DVC takes its cache at its word: what it has linked or copied it does not read again. So pulled files are read here,
before anything is believed that rests on them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrail.config.yaml_lines import read_yaml
from finetrail.errors import FinetrailError
from finetrail.rows.records import CHUNK_BYTES

LOCK = Path("dvc.lock")
FOLDER_SUFFIX = ".dir"
SCALES = ("full", "tutorial")


def stage_name(recipe: str, scale: str) -> str:
    """Name the stage of dvc.yaml that makes a recipe at a scale."""
    return recipe if scale == "full" else f"{recipe}-{scale}"


@dataclass(frozen=True)
class Pinned:
    """A file or folder as it was pinned: by the MD5 of its bytes or, with `.dir`, of the list of its files."""

    path: Path
    md5: str

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.md5.endswith(FOLDER_SUFFIX)


def locked_outputs(lock: Path, stages: Sequence[str]) -> list[Pinned]:
    """Return what the lock says of some stages.

    Raises:
        FinetrailError: the lock has no entry of a stage.
    """
    known: Mapping[str, Any] = (read_yaml(lock) if lock.exists() else {}).get("stages", {})
    if missing := [stage for stage in stages if stage not in known]:
        hint = "Run it, then `make push`; or check out a commit in which it was pushed"
        raise FinetrailError(f"nothing was pushed yet of {', '.join(missing)}", where=lock.name, hint=hint)
    return [Pinned(Path(entry["path"]), entry["md5"]) for stage in stages for entry in known[stage]["outs"]]


def pointed_output(pointer: Path) -> Pinned:
    """Return what a pointer file (`<name>.dvc`) says, by a path beside it."""
    (entry,) = read_yaml(pointer)["outs"]
    return Pinned(pointer.parent / entry["path"], entry["md5"])


def pinned_files(pinned: Pinned, cache: Path) -> dict[Path, str]:
    """Return the MD5 of each file that something pinned consists of.

    Raises:
        FinetrailError: the list of a folder's files is missing or damaged.
    """
    if not pinned.is_folder:
        return {pinned.path: pinned.md5}
    listed = cache / pinned.md5[:2] / pinned.md5[2:]
    try:
        content = listed.read_bytes()
    except OSError as error:
        raise FinetrailError(f"cannot be read: {error.strerror}", where=str(listed), hint="Pull again") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != pinned.md5.removesuffix(FOLDER_SUFFIX):
        raise FinetrailError(
            f"is damaged: the list of the files of {pinned.path}", where=str(listed), hint="Remove it, then pull again"
        )
    return {pinned.path / entry["relpath"]: entry["md5"] for entry in json.loads(content)}


def unfaithful(pinned: Iterable[Pinned], cache: Path) -> Iterator[tuple[Path, str]]:
    """Yield files that are not as they were pinned, each with what is wrong; every file is read.

    Args:
        pinned: what to look at.
        cache: the folder `files/md5` of DVC's cache, which holds the lists of folders.
    """
    for one in pinned:
        try:
            files = pinned_files(one, cache)
        except FinetrailError as error:
            yield one.path, str(error)
            continue
        for path, md5 in files.items():
            if not path.is_file():
                yield path, "is missing"
            elif file_md5(path) != md5:
                yield path, "has other bytes than were pinned"


def file_md5(path: Path) -> str:
    """Return the MD5 of a file's bytes, as DVC takes it."""
    state = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            state.update(piece)
    return state.hexdigest()


@dataclass(frozen=True)
class SetAside:
    """A call store's segments that a pointer does not know: out of the way while DVC puts the folder in place.

    Segments have names of their own and are never changed, so what two people paid for is united by having both.

    Args:
        store: the call store.
        aside: where segments wait; what is found there from an earlier attempt is put back, too.
    """

    store: Path
    aside: Path

    def take(self, known: Mapping[Path, str]) -> None:
        """Move away whatever the pointer does not know by name and bytes."""
        files = [path for path in self.store.rglob("*") if path.is_file()] if self.store.is_dir() else []
        for path in files:
            if path not in known or file_md5(path) != known[path]:
                self._move(path, self.aside / path.relative_to(self.store))

    def give_back(self) -> list[Path]:
        """Move segments back; return those that stay aside, since the store now has another of their name."""
        if not self.aside.is_dir():
            return []
        kept = []
        for path in sorted(path for path in self.aside.rglob("*") if path.is_file()):
            target = self.store / path.relative_to(self.aside)
            if target.exists() and file_md5(target) != file_md5(path):
                kept.append(path)
            elif target.exists():
                path.unlink()
            else:
                self._move(path, target)
        if not kept:
            for folder in sorted(self.aside.rglob("*"), reverse=True):
                folder.rmdir()
            self.aside.rmdir()
        return kept

    @staticmethod
    def _move(path: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
