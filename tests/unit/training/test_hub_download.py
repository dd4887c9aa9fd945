"""What is said where the hub does not give a model, and that a model without weights is found out at once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import errors

from finetrail.errors import FinetrailError
from finetrail.hub import download

REVISION = 40 * "a"


def answer(status: int) -> Any:
    """What the errors of the hub's client read of a response."""
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.mark.parametrize(
    ("error", "cause", "hint"),
    [
        (errors.GatedRepoError("no", response=answer(403)), "the model is gated", "Accept its licence .* HF_TOKEN"),
        (errors.RepositoryNotFoundError("no", response=answer(404)), "the hub has no such model", "base_model.hub"),
        (
            errors.RevisionNotFoundError("no", response=answer(404)),
            f"the model has no revision {REVISION}",
            r"base_model\.revision",
        ),
        (errors.LocalEntryNotFoundError("no network"), f"cannot be downloaded at revision {REVISION}", "reached"),
        (OSError("no route"), f"cannot be downloaded at revision {REVISION}: no route", "base_model.path"),
    ],
)
def test_why_the_hub_gives_no_model(
    error: Exception,
    cause: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(FinetrailError, match=f"org/model: {cause}.*{hint}"):
        download("org/model", REVISION, tmp_path, "base_model")


def test_a_model_without_safetensors_is_found_out_before_a_gpu_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def give(hub: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        asked.update(hub=hub, revision=revision, patterns=allow_patterns)
        (local_dir / "config.json").write_text("{}")

    monkeypatch.setattr("huggingface_hub.snapshot_download", give)
    with pytest.raises(FinetrailError, match="org/model: holds no weights as safetensors at revision a"):
        download("org/model", REVISION, tmp_path, "base_model")
    (tmp_path / "model.safetensors").touch()
    download("org/model", REVISION, tmp_path, "base_model")
    assert asked["revision"] == REVISION and not any("bin" in pattern for pattern in asked["patterns"])
