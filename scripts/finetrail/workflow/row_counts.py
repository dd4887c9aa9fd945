"""About how many rows a job has: of its file where that is there, else by the recipe."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from finetrail.config.recipe import RecipeConfig, RunConfig

ASSUMED_RECORDS = 10_000
"""Original records of a recipe that says nothing (`source.records`, `limit`) and has read none yet."""
PASSAGES_A_RECORD = 10
"""Passages of a corpus that was not read yet, for each record."""
TASKS_A_CALL = 3
"""Rows that teach a student to search, for each record."""
_LOOKED_AT = 1 << 20


def rows_in(path: Any) -> int | None:
    """Estimate the lines of a file by its first megabyte; None where it is not there or empty.

    Args:
        path: of one file; anything else than a path's text, such as an input that is not known yet, has no rows.
    """
    if not isinstance(path, str | os.PathLike) or not Path(path).is_file():
        return None
    found = Path(path).stat()
    return _estimated(Path(path), found.st_size, found.st_mtime_ns) or None


@lru_cache(maxsize=4096)
def _estimated(path: Path, size: int, changed: int) -> int:
    with path.open("rb") as stream:
        start = stream.read(_LOOKED_AT)
    lines = start.count(b"\n")
    return lines if len(start) == size or not lines else round(lines * size / len(start))


def records(run: RunConfig, name: str) -> int:
    """Return about how many original records a recipe has."""
    recipe = run.recipe(name)
    known = rows_in(run.results / name / "records.jsonl") or recipe.source.records or ASSUMED_RECORDS
    return min(known, recipe.limit or known)


def train_rows(run: RunConfig, name: str) -> int:
    """Return about how many rows a fold's train set has, at most."""
    recipe = run.recipe(name)
    originals = records(run, name) * (recipe.splits.train or 1.0) / len(recipe.folds.names)
    each = _examples_a_record(recipe) + (TASKS_A_CALL if recipe.student else 0)
    return max(1, round(originals * each))


def _examples_a_record(recipe: RecipeConfig) -> int:
    made = recipe.synthesize
    if made is None:
        return 1
    several = 1 if made.keep == "best" else made.versions
    pictures = 2 * len(recipe.vision.classes) if recipe.vision else 1
    kinds = {"answers": several, "reasoning": several, "questions": made.questions, "bundles": made.epochs}
    return kinds.get(made.kind, pictures)


def test_rows(run: RunConfig, name: str) -> int:
    """Return about how many questions a fold's test set has, in all conditions that they are asked in."""
    recipe = run.recipe(name)
    folds = len(recipe.folds.names)
    share = recipe.splits.test or (1 - 1 / folds if folds > 1 else 0.1)
    conditions = 2 + len(recipe.evaluate.distractors) if recipe.evaluate and recipe.evaluate.metric == "hops" else 1
    return max(1, round(records(run, name) * share * conditions))


def passages(run: RunConfig, name: str) -> int:
    """Return about how many passages a recipe's corpus has."""
    known = rows_in(run.results / name / "passages.jsonl")
    return known or records(run, name) * PASSAGES_A_RECORD
