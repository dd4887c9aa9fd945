"""Ask the trained pipeline of a recipe a question: passages, answer and citations, from the adapter `best`.

    python scripts/evaluate/ask_question.py --recipe hotpotqa --question "Which magazine was started first?"
    python scripts/evaluate/ask_question.py --recipe crag_mm_images --image buoy.png

Without a question, questions are read from standard input, one a line. A student that searches for itself (the section
`student`) takes them as the turns of one conversation, and may be shown an image.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetrail.config.load import load_config
from finetrail.config.recipe import RunConfig
from finetrail.errors import FinetrailError
from finetrail.inference.answering.deployed import deployed
from finetrail.inference.answering.pipeline import Reply

if TYPE_CHECKING:
    from finetrail.inference.answering.talk import Said

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


def as_turn(question: str, said: "Said") -> str:
    """Render what a student looked up and said."""
    lookup = said.lookup
    lines = [f"Question: {question}", "", "Queries:", *(f"  {query['text']}" for query in lookup["queries"]), ""]
    lines += [f"Passages, of {lookup['found']} found (chosen by: {lookup['chose']}):"]
    texts = (" ".join([*one["title"].split(), *one["text"].split()])[:SHOWN] for one in said.evidence)
    lines += [f"  [{number}] {text}" for number, text in enumerate(texts, start=1)]
    return "\n".join([*lines, "", f"Answer: {said.answer or '(nothing)'}"])


def talk_to_student(run: RunConfig, recipe: str, questions: Iterable[str], image: Path | None) -> None:
    """Ask a student the questions of one conversation, and print what it says.

    Raises:
        FinetrailError: a part of it has not been made, or the image cannot be shown.
    """
    from finetrail.inference.answering.talk import talk

    config = run.recipe(recipe)
    assert config.train is not None
    with talk(run, recipe, next(iter(config.train.models)), config.folds.names[0], image) as conversation:
        for question in filter(None, map(str.strip, questions)):
            print(as_turn(question, conversation.ask(question)), end="\n\n", flush=True)


def ask(recipe: str, scale: str, questions: Iterable[str], image: Path | None = None) -> None:
    """Answer questions, and print the replies.

    Raises:
        FinetrailError: the recipe is of another kind, or a part of it has not been made.
    """
    run = load_config(ROOT, config={"recipes": [recipe], "scale": scale})
    config = run.recipe(recipe)
    if config.train is not None and config.student is not None:
        talk_to_student(run, recipe, questions, image)
        return
    if image is not None:
        raise FinetrailError("only a student can be shown an image", where=recipe, hint="Leave the image out")
    if config.train is None or config.rerank.train is None or config.folds.layout != "bundle":
        hint = "A recipe with a `student`, or with `rerank.train` and `folds.layout: bundle`, can be asked"
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
    parser.add_argument("--image", type=Path, default=None, help="image that a student is asked about")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    try:
        ask(args.recipe, args.scale, [args.question] if args.question else sys.stdin, args.image)
    except FinetrailError as error:
        print(f"ask_question: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
