"""Convert a merged model to GGUF, quantized as the recipe says."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.export.gguf_writer import convert_to_gguf
from finetrail.rows.artifacts import check_manifest
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("export.quantization", "export.name")
ENVIRONMENT = "export"


def work(step: Step, args: argparse.Namespace) -> None:
    """Write model.gguf."""
    settings = step.settings["export"]
    check_manifest(args.merged.parent, args.merged)
    step.facts["gguf"] = convert_to_gguf(
        args.merged.parent,
        step.file(args.gguf),
        quantization=settings["quantization"].upper(),
        name=settings["name"] or step.recipe,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    add_input(parser, "--merged", "manifest.json of the merged model")
    add_output(parser, "--gguf", "model.gguf")
    return run_step(parser, argv, __file__, work, offline=True)


if __name__ == "__main__":
    sys.exit(main())
