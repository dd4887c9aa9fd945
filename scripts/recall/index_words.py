"""Count the words of the passages of a corpus, or of one shard of it: what BM25 and TF-IDF search."""

import argparse
import sys
from collections.abc import Sequence

from finetrail.retrieval.postings import count_words
from finetrail.rows.shards import Shard
from finetrail.step.step import Step, add_input, add_output, run_step, step_parser

ENVIRONMENT = "data"


def work(step: Step, args: argparse.Namespace) -> None:
    """Publish the index."""
    counted = count_words(step.rows(args.passages, "passages"))
    size = {"passages": len(counted.ids), "words": len(counted.words), "entries": len(counted.counts)}
    counted.save(step.folder(args.manifest.parent, args.manifest, {"kind": "words", **size}))
    step.facts["index"] = size
    step.count(rows_in=len(counted.ids), kept=len(counted.ids))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    parser = step_parser(__doc__)
    parser.add_argument("--shard", type=Shard.parse, help="index a share of the passages only, such as 2/3")
    add_input(parser, "--passages", "passages.jsonl")
    add_output(parser, "--manifest", "manifest.json in the folder of the index")
    return run_step(parser, argv, __file__, work)


if __name__ == "__main__":
    sys.exit(main())
