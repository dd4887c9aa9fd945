"""What can be known of a base model from its small files and the settings, before anything is paid or trained.

The files are a stranger's, and their template is a program. So they are looked at by a process of its own, with bounds
of time and memory: ``python -m finetrail.preflight.base_checks FOLDER`` reads a recipe from standard input.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from finetrail.config.load import LoadedConfig
from finetrail.config.recipe import RecipeConfig, RunConfig
from finetrail.config.sections.schema import plain
from finetrail.config.sections.train import BaseModelChoice
from finetrail.errors import FinetrailError
from finetrail.export.modelfile import check_text
from finetrail.hub import cached_small, download
from finetrail.models.model_files import NO_WEIGHTS, SMALL
from finetrail.preflight.base_findings import attempt, findings
from finetrail.preflight.finding import Finding
from finetrail.rows.artifacts import MANIFEST_NAME, read_json

MOST_SECONDS = 120
MOST_BYTES = 4 << 30
"""Of private memory."""


def refuse_unfit_bases(run: LoadedConfig) -> None:
    """Stop where the base model of a recipe cannot be trained or exported as the recipe says.

    A base of the hub that is not on this machine is passed over: `check_hub_bases` looks at it. Nothing is asked.

    Raises:
        FinetrailError: lists what was found.
    """
    found = [one for name, recipe in run.recipes.items() for one in _of_recipe(run, name, recipe)]
    errors = [
        FinetrailError(one.what, where=f"{one.where} ({_said_in(run, one.where)})", hint=one.fix) for one in found
    ]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise FinetrailError("\n".join([f"{len(errors)} errors about base models:", *(f"  {one}" for one in errors)]))


def _said_in(run: LoadedConfig, key: str) -> str:
    """Return where a key is set; of one that nobody set, where the base model is chosen."""
    parts = key.split(".")
    for length in range(len(parts), 2, -1):
        origin = run.origin(".".join(parts[:length]))
        if origin.layer != "default":
            return str(origin)
    return str(run.origin(".".join([*parts[:2], "base_model"])))


def _of_recipe(run: RunConfig, name: str, recipe: RecipeConfig) -> Iterator[Finding]:
    if recipe.export is not None and recipe.export.format != "none":
        yield from attempt(
            f"recipes.{name}.folds.system_prompt", lambda: check_text(recipe.folds.system_prompt, "SYSTEM")
        )
    path = recipe.base_model.path if recipe.base_model else None
    for missing, pattern in (("holds no config.json", "config.json"), (NO_WEIGHTS, "*.safetensors")):
        if path is not None and not any(Path(path).glob(pattern)):
            yield Finding("error", f"recipes.{name}.base_model.path", f"{path} {missing}", "Name a model's folder")
            return
    folder = _at_hand(run, name, recipe)
    if folder is not None:
        yield from look_at(name, recipe, folder)


def _at_hand(run: RunConfig, name: str, recipe: RecipeConfig) -> Path | None:
    """Return the folder of a base that exists already; the tiny ones are this project's own.

    A Python without transformers, as where rules run in conda environments, looks at none: `fetch_model` does.
    """
    if recipe.base_model is None or recipe.base_model.tiny is not None or find_spec("transformers") is None:
        return None
    if recipe.base_model.path is not None:
        return Path(recipe.base_model.path)
    fetched = run.results / name / "base_model"
    if (fetched / MANIFEST_NAME).is_file():
        return fetched
    return _in_cache(recipe.base_model)


def _in_cache(choice: BaseModelChoice) -> Path | None:
    """Return a base's folder in the hub's cache, where what decides its template is there as well."""
    if choice.hub is None or choice.revision is None:
        return None
    folder = cached_small(choice.hub, choice.revision)
    if folder is None or choice.template is not None or any(folder.glob("chat_template.*")):
        return folder
    settings = folder / "tokenizer_config.json"
    return folder if settings.is_file() and "chat_template" in read_json(settings) else None


def unseen_bases(run: RunConfig) -> Iterator[str]:
    """Say in a line which base models of a run nobody has looked at, and when that will be."""
    for name, recipe in run.recipes.items():
        choice = recipe.base_model
        if choice is None or choice.tiny is not None or _at_hand(run, name, recipe) is not None:
            continue
        when = "fetch_model looks at it" if choice.hub is None else "`make preflight` looks at it, and fetch_model"
        yield f"The base model of {name}, {choice.hub or choice.path}, has not been looked at: {when}"


def check_hub_bases(run: RunConfig) -> Iterator[Finding]:
    """Fetch the small files of bases that the hub has, and look at them."""
    for name, recipe in run.recipes.items():
        choice = recipe.base_model
        if choice is None or choice.hub is None or choice.revision is None or _at_hand(run, name, recipe) is not None:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            where = f"recipes.{name}.base_model.hub"
            try:
                download(choice.hub, choice.revision, Path(scratch), "base_model", patterns=SMALL)
            except FinetrailError as error:
                yield Finding("error", where, f"{choice.hub}: {error.cause}", error.hint or "")
                continue
            yield from look_at(name, recipe, Path(scratch))


def look_at(name: str, recipe: RecipeConfig, folder: Path) -> list[Finding]:
    """Look at a base model's folder in a process of its own.

    Args:
        name: of the recipe.
        recipe: its settings.
        folder: with the model's configuration and tokenizer; weights are not read.
    """
    where = f"recipes.{name}.base_model"
    command = [sys.executable, "-m", __name__, str(folder.absolute())]
    asked = json.dumps({"name": name, "recipe": plain(recipe)})
    scripts = str(Path(__file__).resolve().parents[2])
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, text=True, timeout=MOST_SECONDS, check=False,
            env=_environment(scripts), preexec_fn=_bound,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        what = f"{folder} was not read within {MOST_SECONDS} s: its template or its tokenizer never ends"
        return [Finding("error", where, what, "Choose another model, or name a base_model.template")]
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        return [
            Finding(
                "error", f"recipes.{name}.base_model", f"{folder} cannot be read: {said[-1]}", "Choose another model"
            )
        ]
    return [Finding(**one) for one in json.loads(done.stdout.splitlines()[-1])]


def _environment(scripts: str) -> dict[str, str]:
    # Nothing is asked of the hub, and no key is shown to what reads a stranger's files.
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "OPENBLAS_CORETYPE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "PYTHONPATH": scripts,
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _bound() -> None:
    seconds = math.ceil(MOST_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))


def main() -> int:
    """Print what was found, as JSON."""
    asked = json.load(sys.stdin)
    found = [asdict(one) for one in findings(asked["name"], asked["recipe"], Path(sys.argv[1]))]
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
