"""Download a base model from the hub at its revision, or copy a local folder; GPU jobs then run offline."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.errors import FinetrailError
from finetrail.step import Step, add_output, run_step, step_parser
from finetrail.training.base_tokenizer import prepare_tokenizer


def download(hub: str, revision: str, folder: Path) -> None:
    """Download a model's configuration, tokenizer and safetensors weights.

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

    patterns = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt", "LICENSE*"]
    try:
        snapshot_download(hub, revision=revision, local_dir=folder, allow_patterns=patterns)
    except GatedRepoError as error:
        raise FinetrailError(
            "the model is gated",
            where=hub,
            hint="Accept its licence on the hub, then set HF_TOKEN in the environment",
        ) from error
    except RepositoryNotFoundError as error:
        raise FinetrailError("the hub has no such model", where=hub, hint="Check base_model.hub") from error
    except RevisionNotFoundError as error:
        raise FinetrailError(
            f"the model has no revision {revision}", where=hub, hint="Check base_model.revision"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FinetrailError(
            f"cannot be downloaded at revision {revision}: {error}",
            where=hub,
            hint="Run this rule where the hub can be reached, or set base_model.path to a local folder",
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise FinetrailError(
            f"holds no weights as safetensors at revision {revision}",
            where=hub,
            hint="Choose a revision that has them, or convert the model and set base_model.path to its folder",
        )


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the model's folder."""
    choice = step.settings["base_model"]
    facts = {"kind": "base", "hub": choice["hub"], "revision": choice["revision"], "path": choice["path"]}
    folder = step.folder(args.manifest.parent, args.manifest, facts)
    if choice["hub"]:
        download(choice["hub"], choice["revision"], folder)
    else:
        copy(Path(choice["path"]), folder)
    changed = prepare_tokenizer(
        folder,
        template=choice["template"],
        family=choice["family"],
        pad_token=choice["pad_token"],
        new_tokens=choice["new_tokens"],
    )
    step.manifest_facts(args.manifest.parent, {"tokenizer": changed})


def copy(source: Path, folder: Path) -> None:
    """Copy a local model's files.

    Raises:
        FinetrailError: the folder is no model's.
    """
    if not (source / "config.json").is_file():
        raise FinetrailError("holds no config.json", where=str(source), hint="base_model.path names a model's folder")
    for path in sorted(source.iterdir()):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)  # never a link: the original may be edited, or be one itself


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_output(parser, "--manifest", "manifest.json in the folder of the base model")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
