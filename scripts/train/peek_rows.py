"""Show train rows of a fold as a model is trained on them, the tokens that carry loss in colour."""

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from finetrail.config.load import load_config
from finetrail.config.recipe import RunConfig
from finetrail.config.sections.schema import plain
from finetrail.errors import FinetrailError
from finetrail.models.limits import Limits
from finetrail.rows.records import read_rows

ROOT = Path(__file__).resolve().parents[2]
ROWS = 20


def chosen(name: str | None, known: Sequence[str], what: str) -> str:
    """Return the name that was asked for, or the first that there is.

    Raises:
        FinetrailError: the recipe has no such name.
    """
    if name is not None and name not in known:
        raise FinetrailError(f"the recipe has no {what} {name}", where=what.upper(), hint=f"It has: {', '.join(known)}")
    return name or known[0]


def needed_files(run: RunConfig, recipe: str, fold: str) -> tuple[Path, Path]:
    """Return the fold's train rows and the base model's manifest.

    Raises:
        FinetrailError: one of them has not been made.
    """
    choice = run.recipe(recipe).base_model
    base = f"bases/{fold}" if choice is not None and choice.tiny else "base_model"
    files = (run.results / recipe / "folds" / fold / "train.jsonl", run.results / recipe / base / "manifest.json")
    for path in files:
        if not path.is_file():
            command = f"snakemake --cores 2 --config scale={run.scale} recipes='[{recipe}]' --"
            raise FinetrailError("has not been made", where=str(path), hint=f"Run: {command} {files[0]} {files[1]}")
    return files


def peek(recipe: str, scale: str, model: str | None, fold: str | None, around: tuple[str, str]) -> None:
    """Print the rows."""
    from finetrail.models.base_model import BaseModel
    from finetrail.models.masks import encode_rows
    from finetrail.training.peek import show_row, show_summary

    run = load_config(ROOT, config={"recipes": [recipe], "scale": scale})
    config = run.recipe(recipe)
    if config.train is None:
        raise FinetrailError("the recipe trains nothing", where=recipe)
    tuning = config.train.models[chosen(model, list(config.train.models), "model")]
    limits = Limits(**plain(config.limits))
    train, manifest = needed_files(run, recipe, chosen(fold, config.folds.names, "fold"))
    rows = list(islice(read_rows(train), ROWS))
    if not rows:
        raise FinetrailError("there are no rows to train on", where=str(train))
    base = BaseModel(manifest.parent)
    base.check(loss=tuning.loss, max_length=limits.max_length)
    encoded = encode_rows(rows, base.tokenizer, limits, loss=tuning.loss, vision=base.vision(config.source.images))
    for example in encoded.examples:
        print(show_row(example, base.tokenizer, around))
    for row_id, reason in encoded.set_aside.items():
        print(f"--- {row_id}: set aside: {reason}\n")
    print(show_summary(encoded))


def main(argv: Sequence[str] | None = None) -> int:
    """Show the rows, or say what is missing."""
    from finetrail.training.peek import COLOUR, MARKS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--scale", choices=("full", "tutorial"), default="full")
    parser.add_argument("--model", help="the recipe's first if not given")
    parser.add_argument("--fold", help="the recipe's first if not given")
    arguments = parser.parse_args(argv)
    try:
        peek(
            arguments.recipe,
            arguments.scale,
            arguments.model,
            arguments.fold,
            COLOUR if sys.stdout.isatty() else MARKS,
        )
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader (a pager, head) has seen enough
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
