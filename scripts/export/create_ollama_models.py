"""Load the exported folders into Ollama with `ollama create`, or print the commands where Ollama is not installed."""

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from finetrail.config.load import load_config
from finetrail.errors import FinetrailError

ROOT = Path(__file__).resolve().parents[2]


def commands(recipe: str, scale: str) -> list[list[str]]:
    """Return one command an exported model of a recipe.

    Raises:
        FinetrailError: a folder has not been made yet.
    """
    run = load_config(ROOT, config={"recipes": [recipe], "scale": scale})
    config = run.recipe(recipe)
    if config.train is None or config.export is None or config.export.format == "none":
        raise FinetrailError("the recipe exports nothing", where=recipe)
    found = []
    for model, tuning in config.train.models.items():
        text_only = "-text" if tuning.method == "image_prefix" else ""  # no runtime there reads the prefix
        for fold in config.folds.names:
            modelfile = run.results / recipe / "ollama" / model / fold / "Modelfile"
            if not modelfile.is_file():
                hint = f"Run: make run RECIPE={recipe} SCALE={scale}"
                raise FinetrailError("has not been made", where=str(modelfile), hint=hint)
            name = config.export.name or recipe.replace("_", "-")
            found.append(["ollama", "create", f"{name}:{model}-{fold}{text_only}", "-f", str(modelfile)])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run or print the commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--scale", choices=("full", "tutorial"), required=True)
    arguments = parser.parse_args(argv)
    try:
        listed = [command for recipe in arguments.recipes for command in commands(recipe, arguments.scale)]
    except FinetrailError as error:
        print(error, file=sys.stderr)
        return 1
    if shutil.which("ollama") is None:
        print("Ollama is not installed here. Where it is, run:")
        print("\n".join(shlex.join(command) for command in listed))
    elif failed := max(subprocess.run(command, check=False).returncode for command in listed):
        return failed
    print("Then talk to it, in the form of the rows of folds/ (with passages in the question where they have them):")
    print("\n".join(shlex.join(["ollama", "run", command[2]]) for command in listed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
