"""The configuration of the run that a job belongs to: where jobs read *operation* keys.

The workflow has checked and written it; here it is plain data. The typed model is not imported, so that a new key
reruns no step.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from finetrail.errors import FinetrailError

RUN_CONFIG_VARIABLE = "FINETRAIL_RUN_CONFIG"
# Names the file that the workflow writes its configuration to when it is parsed, for whoever plans without running.
PLAN_VARIABLE = "FINETRAIL_PLAN_CONFIG"
# Names the file that the workflow writes what it makes to when it is parsed; original files may then be missing.
VERSIONS_VARIABLE = "FINETRAIL_VERSIONS"


def current_run() -> dict[str, Any]:
    """Read the run's configuration, which the workflow wrote before its first job.

    Raises:
        FinetrailError: the script is run by hand and no configuration is named, or the file cannot be read.
    """
    path = os.environ.get(RUN_CONFIG_VARIABLE)
    if path is None:
        raise FinetrailError(
            "this step needs a run's configuration",
            hint=f"Set {RUN_CONFIG_VARIABLE} to a run_config.yaml; every run of the workflow writes one into its "
            "results folder",
        )
    return _read(Path(path))


@cache
def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise FinetrailError(f"the run's configuration cannot be read: {error}", where=str(path)) from error
    return content


def results_folder() -> Path:
    """Return the folder that the contract's paths are relative to."""
    run = current_run()
    folder = Path(run["results_dir"])
    return folder / "tutorial" if run["scale"] == "tutorial" else folder


def operation_key(recipe: str, dotted: str) -> Any:
    """Return the value of one of a recipe's operation keys, such as ``train.save_steps``."""
    value: Any = current_run()["recipes"][recipe]
    for name in dotted.split("."):
        value = value[name]
    return value
