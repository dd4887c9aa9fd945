"""Print as JSON what Snakemake knows of each step of the workflow in this folder: ``parse_rules.py CONFIG_AS_JSON``."""

import inspect
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

ATTEMPT = 10


class AnyJob(SimpleNamespace):
    """The wildcards of a job of some recipe."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return a wildcard."""
        return getattr(self, name, default)


def value_of(resource: Any, job: AnyJob, attempt: int) -> Any:
    """Return what a job asks for; functions get what Snakemake would give them."""
    value = resource._value if hasattr(resource, "_value") else resource
    if not callable(value):
        return value
    known = {"wildcards": job, "attempt": attempt, "input": SimpleNamespace(shards=[])}
    wanted = inspect.signature(value).parameters
    if not {*wanted} <= {*known}:
        return None  # a default of Snakemake's own
    return value(**{name: known[name] for name in wanted})


def describe(rule: Any, job: AnyJob) -> dict[str, Any]:
    """Describe a rule; `*_later` is what it asks for at a late attempt."""
    declared = rule.params.script.declared
    served = rule.input.get("served") if "served" in rule.input.keys() else None  # noqa: SIM118 (no dictionary)
    return {
        "log": [str(path) for path in rule.log],
        "benchmark": str(rule.benchmark),
        "retries": rule._restart_times,
        "conda": rule.conda_env and Path(str(rule.conda_env)).stem,
        "environment": declared.environment,
        "asks": declared.asks,
        "served": served and served.key,
        "searches": declared.searches,
        "params": list(rule.params.keys()),
        "resources": {name: value_of(one, job, 1) for name, one in rule.resources.items()},
        "mem_mb_later": value_of(rule.resources["mem_mb"], job, ATTEMPT),
    }


def main() -> None:
    """Parse the workflow."""
    config = json.loads(sys.argv[1])
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        asked = api.workflow(ResourceSettings(cores=1), ConfigSettings(config=config), snakefile=Path("Snakefile"))
        workflow = asked._workflow
        job = AnyJob(recipe=config["recipes"][0], model="lora")
        steps = {rule.name: describe(rule, job) for rule in workflow.rules if rule.shellcmd}
        print(json.dumps({"steps": steps, "local": sorted(workflow._localrules)}))


if __name__ == "__main__":
    main()
