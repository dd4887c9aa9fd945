"""Encode the passages of a corpus, or of one shard of it, by a bi-encoder: what dense retrieval searches."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.retrieval.bi_encoder import encoder_of
from finetrail.retrieval.model_place import folders_of
from finetrail.retrieval.vectors import build_vectors
from finetrail.rows.shards import Shard
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

SETTINGS = ("encoder",)
ENVIRONMENT = "dense"


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the index."""
    encoder = encoder_of(step.settings["encoder"], folders_of(args.encoder))
    facts = {"kind": "vectors", "model": encoder.place.fingerprint}
    folder = step.folder(args.manifest.parent, args.manifest, facts)
    count = build_vectors(step.rows(args.passages, "passages"), encoder, folder)
    step.manifest_facts(args.manifest.parent, {"passages": count})
    step.count(rows_in=count, kept=count)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--shard", type=Shard.parse, help="index a share of the passages only, such as 2/3")
    add_input(parser, "--passages", "passages.jsonl")
    add_input(parser, "--encoder", "manifest of the bi-encoder, if it was fetched", nargs="*", required=False)
    add_output(parser, "--manifest", "manifest.json in the folder of the index")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
