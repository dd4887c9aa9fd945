"""Download a base model from the hub at its revision, or copy a local folder; GPU jobs then run offline."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.config.current import RUN_CONFIG_VARIABLE, current_run
from finetrail.errors import FinetrailError
from finetrail.hub import download
from finetrail.models.base_tokenizer import prepare_tokenizer
from finetrail.models.model_files import ALL, NO_WEIGHTS
from finetrail.models.model_folder import stored_parameters
from finetrail.preflight.base_findings import findings
from finetrail.step.step import Step, add_output, run_step, step_parser

SETTINGS = ("base_model",)


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the model's folder."""
    choice = step.settings["base_model"]
    facts = {"kind": "base", "hub": choice["hub"], "revision": choice["revision"], "path": choice["path"]}
    folder = step.folder(args.manifest.parent, args.manifest, facts)
    if choice["hub"]:
        download(choice["hub"], choice["revision"], folder, "base_model")
    else:
        copy(Path(choice["path"]), folder)
    step.facts["parameters"] = stored_parameters(folder)
    changed = prepare_tokenizer(
        folder,
        template=choice["template"],
        family=choice["family"],
        pad_token=choice["pad_token"],
        new_tokens=choice["new_tokens"],
    )
    recipe = current_run()["recipes"][step.recipe] if RUN_CONFIG_VARIABLE in os.environ else None
    for found in findings(step.recipe, recipe, folder) if recipe else ():
        raise FinetrailError(found.what, where=found.where, hint=found.fix)
    step.manifest_facts(args.manifest.parent, {"tokenizer": changed})


def copy(source: Path, folder: Path) -> None:
    """Copy a local model's files, of the kinds that are taken from the hub: nothing that can run code.

    Raises:
        FinetrailError: the folder is no model's.
    """
    if not (source / "config.json").is_file():
        raise FinetrailError("holds no config.json", where=str(source), hint="base_model.path names a model's folder")
    if not any(source.glob("*.safetensors")):
        hint = "Convert them: other formats may run code when they are read"
        raise FinetrailError(NO_WEIGHTS, where=str(source), hint=hint)
    for path in sorted(source.iterdir()):
        if path.is_file() and any(path.match(pattern) for pattern in ALL):
            shutil.copyfile(path, folder / path.name)  # never a link: the original may be edited, or be one itself


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_output(parser, "--manifest", "manifest.json in the folder of the base model")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
