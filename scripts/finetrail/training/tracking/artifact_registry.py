"""The local registry of artifacts: ``registry.json`` says which file an alias means, and what its bytes are.

W&B gives artifacts back only with a network; this gives them back without one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json, write_json
from finetrail.rows.records import sha256_file
from finetrail.training.checkpoints.checkpoints import IDENTITY

FOLDER = "wandb"
REGISTRY = "registry.json"


def run_id(state_dir: Path) -> str:
    """Return the id of a training at W&B: that of its data and settings."""
    return str(read_json(state_dir / IDENTITY)["identity"])[:16]


@dataclass(frozen=True)
class Entry:
    """What an alias means.

    Attributes:
        path: of the file, relative to the registry.
        sha256: of the file.
        metadata: of the artifact.
        score: the eval metric that it was compared by, the higher the better; None where none was taken.
    """

    path: str
    sha256: str
    metadata: Mapping[str, Any]
    score: float | None


class Registry:
    """The artifacts of one training.

    Args:
        folder: holds ``registry.json`` and the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> dict[str, Entry]:
        """Return what each alias means.

        Raises:
            FinetrailError: ``registry.json`` cannot be read.
        """
        path = self.folder / REGISTRY
        known = read_json(path) if path.exists() else {}
        return {alias: Entry(**entry) for alias, entry in known.items()}

    def put(self, file: Path, metadata: Mapping[str, Any], score: float | None) -> list[str]:
        """Register a finished file as ``latest``, and as ``best`` where no score is higher.

        Files that no alias means any more are removed.

        Args:
            file: in the registry's folder.
            metadata: of the artifact.
            score: see `Entry`.

        Returns:
            The aliases that now mean the file.
        """
        entries = self.entries()
        entry = Entry(file.relative_to(self.folder).as_posix(), sha256_file(file), dict(metadata), score)
        best = entries.get("best")
        better = score is not None and (best is None or best.score is None or score > best.score)
        aliases = ["latest", "best"] if better else ["latest"]
        entries |= dict.fromkeys(aliases, entry)
        write_json(self.folder / REGISTRY, {alias: vars(entries[alias]) for alias in sorted(entries)})
        self._remove_unnamed(file.suffix, (entry.path for entry in entries.values()))
        return aliases

    def find(self, alias: str) -> tuple[Path, Entry] | None:
        """Return the file that an alias means; None where nothing is registered under it.

        Raises:
            FinetrailError: the file is gone or has other bytes.
        """
        entry = self.entries().get(alias)
        if entry is None:
            return None
        path = self.folder / entry.path
        if not path.is_file() or sha256_file(path) != entry.sha256:
            raise FinetrailError(
                f"the artifact {alias!r} is gone or has other bytes than were registered",
                where=str(path),
                hint=f"Remove {self.folder / REGISTRY} to begin without it",
            )
        return path, entry

    def _remove_unnamed(self, suffix: str, named: Iterable[str]) -> None:
        kept = {self.folder / path for path in named}
        for path in self.folder.glob(f"*{suffix}"):
            if path not in kept:
                path.unlink()
