"""Download a model of retrieval, bi-encoder or cross-encoder, from the hub; the jobs that use it then run offline."""

import argparse
import sys
from collections.abc import Sequence
from functools import reduce

from finetrail.hub import download
from finetrail.step.step import Step, add_output, run_step, step_parser

SETTINGS = ("encoder.hub", "encoder.revision")


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the model's folder."""
    choice = reduce(lambda part, key: part[key], args.section.split("."), step.settings)
    facts = {"kind": args.section, "hub": choice["hub"], "revision": choice["revision"]}
    folder = step.folder(args.manifest.parent, args.manifest, facts)
    download(choice["hub"], choice["revision"], folder, args.section)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--section", required=True, help="the section of the settings that names it: `encoder`")
    add_output(parser, "--manifest", "manifest.json in the folder of the model")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
