"""Merge an adapter into its base model, in single precision."""

import argparse
import logging
import sys
from collections.abc import Sequence

from finetrail.rows.artifacts import check_manifest
from finetrail.rows.records import sha256_file
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser
from finetrail.training.merge_weights import merge_adapter

ENVIRONMENT = "train"

LOGGER = logging.getLogger("finetrail.merge_adapter")


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the merged model's folder."""
    for manifest in (args.base, args.adapter):
        check_manifest(manifest.parent, manifest)
    facts = {"kind": "merged", "base": sha256_file(args.base), "adapter": sha256_file(args.adapter)}
    folder = step.folder(args.manifest.parent, args.manifest, facts)
    merge_adapter(args.base.parent, args.adapter.parent, folder)
    LOGGER.info("merged model saved to: %s", args.manifest.parent)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--base", "manifest.json of the base model")
    add_input(parser, "--adapter", "manifest.json of the adapter")
    add_output(parser, "--manifest", "manifest.json in final_merged_checkpoint/")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
