"""Download models from the hub at a commit, so that the jobs that use them run offline."""

from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.models.model_files import ALL, NO_WEIGHTS

# One of each must be in the cache, or be known there as missing.
_CACHED = (
    ("config.json",),
    ("generation_config.json",),
    ("tokenizer_config.json",),
    ("tokenizer.json", "tokenizer.model"),
)


def download(hub: str, revision: str, folder: Path, section: str, *, patterns: tuple[str, ...] = ALL) -> None:
    """Download a model's configuration, tokenizer and safetensors weights.

    Args:
        hub: its id.
        revision: the commit.
        folder: an existing folder.
        section: the section of the configuration that names it, for messages.
        patterns: which files; `finetrail.models.model_files.SMALL` leaves the weights out.

    Raises:
        FinetrailError: there is no such model or revision, it is gated or holds no safetensors, or the hub cannot be
            reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        snapshot_download(hub, revision=revision, local_dir=folder, allow_patterns=list(patterns))
    except GatedRepoError as error:
        raise FinetrailError(
            "the model is gated",
            where=hub,
            hint="Accept its licence on the hub, then set HF_TOKEN in the environment",
        ) from error
    except RepositoryNotFoundError as error:
        raise FinetrailError("the hub has no such model", where=hub, hint=f"Check {section}.hub") from error
    except RevisionNotFoundError as error:
        raise FinetrailError(
            f"the model has no revision {revision}", where=hub, hint=f"Check {section}.revision"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FinetrailError(
            f"cannot be downloaded at revision {revision}: {error}",
            where=hub,
            hint=f"Run this rule where the hub can be reached, or set {section}.path to a local folder",
        ) from error
    if patterns == ALL and not any(folder.glob("*.safetensors")):
        raise FinetrailError(
            f"{NO_WEIGHTS} at revision {revision}",
            where=hub,
            hint=f"Choose a revision that has them, or convert the model and set {section}.path to its folder",
        )


def cached_small(hub: str, revision: str) -> Path | None:
    """Return the folder of the hub's cache on this machine with a model's configuration and tokenizer; asks nobody.

    Args:
        hub: its id.
        revision: the commit.

    Returns:
        None where a file that a model may have was never looked for here.
    """
    from huggingface_hub import try_to_load_from_cache

    known = {name: try_to_load_from_cache(hub, name, revision=revision) for names in _CACHED for name in names}
    config = known["config.json"]
    if not isinstance(config, str) or any(all(known[name] is None for name in names) for names in _CACHED):
        return None
    return Path(config).parent
