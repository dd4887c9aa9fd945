"""Ask the trained pipeline of a recipe a question: passages, answer and citations, from the adapter `best`.

    python scripts/evaluate/ask_question.py --recipe hotpotqa --question "Which magazine was started first?"

Without a question, questions are read from standard input, one a line.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from finetrail.answering.deployed import deployed
from finetrail.answering.pipeline import Reply
from finetrail.config.load import load_config
from finetrail.errors import FinetrailError

ROOT = Path(__file__).resolve().parents[2]
SHOWN = 160


def rendered(question: str, reply: Reply) -> str:
    """Render what was found, said and cited."""
    lines = [f"Question: {question}", "", "Passages:"]
    lines += [f"  [{p['number']}] {p['title']}: {' '.join(p['text'].split())[:SHOWN]}" for p in reply.passages]
    lines += ["", f"Answer: {reply.answer or '(nothing)'}"]
    lines += [f"  cites {c['title']}, sentence {c['sentence'] + 1}: {c['text']}" for c in reply.citations]
    times = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in reply.seconds.items())
    return "\n".join([*lines, f"({times})"])


def ask(recipe: str, scale: str, questions: Iterable[str]) -> None:
    """Answer questions, and print the replies.

    Raises:
        FinetrailError: the recipe is of another kind, or a part of it has not been made.
    """
    run = load_config(ROOT, config={"recipes": [recipe], "scale": scale})
    config = run.recipe(recipe)
    if config.train is None or config.rerank.train is None or config.folds.layout != "bundle":
        hint = "A recipe with `rerank.train` and `folds.layout: bundle` can be asked"
        raise FinetrailError("the recipe has no pipeline that answers single questions", where=recipe, hint=hint)
    model, fold = next(iter(config.train.models)), config.folds.names[0]
    with deployed(run, recipe, model, fold) as pipeline:
        for question in filter(None, map(str.strip, questions)):
            print(rendered(question, pipeline.ask(question)), end="\n\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, help="the recipe")
    parser.add_argument("--scale", default="tutorial", choices=["tutorial", "full"], help="whose results")
    parser.add_argument("--question", default=None, help="the question; none reads standard input")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    try:
        ask(args.recipe, args.scale, [args.question] if args.question else sys.stdin)
    except FinetrailError as error:
        print(f"ask_question: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
