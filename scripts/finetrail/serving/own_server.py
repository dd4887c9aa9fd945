"""The settings of a server of our own, and what they add to the key of every call that it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from finetrail.config.sections.places import is_folder
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import MANIFEST_NAME, folder_files, read_json
from finetrail.rows.records import canonical_json, sha256_file, sha256_text


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter and the base model that it is served on."""

    path: str
    base: str
    revision: str | None


class Weights(NamedTuple):
    """What a server loads: a hub id with its commit, or a folder; and the adapter on it, if any."""

    model: str
    revision: str | None
    adapter: Adapter | None


@dataclass(frozen=True)
class OwnServer:
    """How a `vllm` or `transformers` server is started; the fields are the keys of `serve` in the config."""

    dtype: str
    quantization: str | None
    chat_template: str | None
    lora_modules: Mapping[str, Adapter]
    structured_output: str
    extra_args: tuple[str, ...]
    speed_args: tuple[str, ...]
    device: str
    python: str | None
    tensor_parallel: int
    gpu_memory_utilization: float
    max_model_len: int | None
    cpu_cache_gb: int
    batch_size: int
    ready_s: float

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "OwnServer":
        """Make it from its entry in the run's configuration."""
        adapters = {name: Adapter(**adapter) for name, adapter in entry["lora_modules"].items()}
        arguments = {name: tuple(entry[name]) for name in ("extra_args", "speed_args")}
        return cls(**{**entry, **arguments, "lora_modules": adapters})

    def weights(self, model: str, revision: str | None) -> Weights:
        """Return what is loaded for a model that a phase names."""
        adapter = self.lora_modules.get(model)
        return Weights(adapter.base, adapter.revision, adapter) if adapter else Weights(model, revision, None)

    def facts(self, model: str, revision: str | None) -> dict[str, Any]:
        """Return what decides the answers beside the request: the kind of server and its speed are left out.

        A model on the hub is named by its commit; a folder counts by its content.

        Raises:
            FinetrailError: a folder or the template cannot be read.
        """
        base, commit, adapter = self.weights(model, revision)
        return {
            "dtype": self.dtype,
            "quantization": self.quantization,
            "structured_output": self.structured_output,
            "extra_args": list(self.extra_args),
            "chat_template": sha256_text(read_template(self.chat_template)) if self.chat_template else None,
            "weights": folder_digest(base) if is_folder(base) else None,
            "adapter": {"base": base, "revision": commit, "sha256": folder_digest(adapter.path)} if adapter else None,
        }


def read_template(path: str) -> str:
    """Read a chat template.

    Raises:
        FinetrailError: there is no such file, or it is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "`serve.chat_template` of the endpoint names a Jinja file"
        raise FinetrailError(f"the chat template cannot be read: {error}", where=path, hint=hint) from error


def folder_digest(name: str) -> str:
    """Return a SHA-256 over the files of a model's folder: from its manifest, where the chain has made it.

    Raises:
        FinetrailError: the folder is missing or empty.
    """
    folder = Path(name)
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        listed = {entry["path"]: entry["sha256"] for entry in read_json(manifest)["files"]}
    else:
        listed = {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder_files(folder)}
    if not listed:
        raise FinetrailError("there is no model in this folder", where=name, hint="Make it, or fetch it (make pull)")
    return sha256_text(canonical_json(listed))
