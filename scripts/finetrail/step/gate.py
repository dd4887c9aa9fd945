"""The digest gate: what runs is what was recorded.

A workflow computes the digests of code, prompts and settings when it is parsed, and hands them to its jobs in a file
named by the environment. A job compares its own before it works and again before it publishes.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finetrail.digests.code_digest import digest_files
from finetrail.digests.kept_sources import KEPT_SOURCES, take_kept_sources
from finetrail.digests.prompt_text import read_prompt
from finetrail.errors import FinetrailError
from finetrail.rows.artifacts import read_json
from finetrail.rows.records import sha256_file

CHANGES_NO_RESULT = "It stops a job or lets it go on; the work is handed nothing from here."
DIGESTS_VARIABLE = "FINETRAIL_DIGESTS"
EDITED = "was edited after this run was started"
AGAIN = "Nothing was published: start the run again"


def current_digests() -> dict[str, Any] | None:
    """Return the digests that the run was started with; None where a script is run by hand."""
    path = os.environ.get(DIGESTS_VARIABLE)
    return read_json(Path(path)) if path else None


def check_rules(digests: Mapping[str, Any], rules: Mapping[str, str]) -> None:
    """Compare the workflow's files, which a job on a cluster parses again, with those that the run was started with.

    Args:
        digests: the run's.
        rules: SHA-256 of each file of the workflow, by its name.

    Raises:
        FinetrailError: names the first file that was edited.
    """
    for name, digest in rules.items():
        if digests["rules"].get(name) != digest:
            raise FinetrailError(EDITED, where=name, hint=AGAIN)


def check_code(digests: Mapping[str, Any], script: Path, root: Path) -> None:
    """Compare the sources of a script, imports included, with the run's digests.

    Raises:
        FinetrailError: names the first file that was edited.
    """
    take_kept_sources(KEPT_SOURCES)
    for name, digest in digest_files(script, root).items():
        if digests["code"].get(name) != digest:
            raise FinetrailError(EDITED, where=f"{root.name}/{name}", hint=AGAIN)


def check_prompts(digests: Mapping[str, Any], prompts: Iterable[Path]) -> None:
    """Compare prompt files with the run's digests.

    Raises:
        FinetrailError: names the first file that was edited.
    """
    for path in prompts:
        if digests["prompts"].get(path.as_posix()) != read_prompt(path).digest:
            raise FinetrailError(EDITED, where=str(path), hint=AGAIN)


def check_settings(digests: Mapping[str, Any], recipe: str, settings: Mapping[str, Any]) -> None:
    """Compare a job's settings with those that the run was started with.

    Raises:
        FinetrailError: names the config files whose bytes changed.
    """
    if _is_part(settings, digests["settings"][recipe]):
        return
    edited = [name for name, digest in digests["config"].items() if _changed(Path(name), digest)]
    raise FinetrailError(EDITED, where=", ".join(edited) or "the configuration", hint=AGAIN)


def _is_part(part: Any, whole: Any) -> bool:
    """Tell whether every key of a nested mapping stands in another with the same value."""
    if isinstance(part, Mapping) and isinstance(whole, Mapping):
        return all(key in whole and _is_part(value, whole[key]) for key, value in part.items())
    return bool(part == whole)


def _changed(path: Path, digest: str) -> bool:
    return not path.exists() or sha256_file(path) != digest
