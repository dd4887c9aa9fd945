"""What a rule's jobs ask of the machine or the cluster, from the configuration and facts of the models."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from finetrail.config.recipe import RunConfig
from finetrail.config.sections.llm import Endpoint
from finetrail.config.sections.schema import plain
from finetrail.config.sections.search import SearchEndpoint
from finetrail.workflow.call_counts import calls_a_record
from finetrail.workflow.declared import Declared
from finetrail.workflow.job_sizes import JobSizes, Size
from finetrail.workflow.models_asked import model_asked
from finetrail.workflow.traits import plain_model

ONLINE = frozenset({"fetch_model", "fetch_encoder", "fetch_reranker", "fetch_images"})
"""Rules that need the internet and ask no model."""


@dataclass(frozen=True)
class JobOf:
    """What tells a job from the others of its rule.

    Attributes:
        recipe: its recipe.
        model: the model that its files are named after; None where they name none.
        shards: how many jobs share its rows.
        files: its inputs by name, as Snakemake gives them; None where they are not known.
        merges: whether it only merges what shards wrote.
    """

    recipe: str
    model: str | None = None
    shards: int = 1
    files: Any = None
    merges: bool = False

    @classmethod
    def of(cls, wildcards: Any, files: Any = None) -> "JobOf":
        """Read a job from its wildcards and inputs."""
        merges = bool(getattr(files, "shards", None))
        shards = int(wildcards.get("shards", 1))
        return cls(wildcards.recipe, wildcards.get("model", None), shards, files, merges)


class JobResources:
    """The resources of one rule's jobs.

    Args:
        run: the configuration.
        rule: its name; a shard's is that of its rule.
        script: the name of the script that it runs.
        declared: what the script declares.
        shares: how many shares the ceilings of shared endpoints are cut into.

    Attributes:
        entry: the rule's entry under `resources`. Without one of its own, a rule has that of the rule whose script it
            runs. A rule that asks a model never inherits: another model may be served elsewhere.
        own: the keys of that entry that somebody set, without those of `default`.
    """

    def __init__(self, run: RunConfig, rule: str, script: str, declared: Declared, shares: int) -> None:
        self._run, self._rule, self._script, self._declared, self._shares = run, rule, script, declared, shares
        inherits = rule not in run.resources and declared.asks is None
        name = script if inherits else rule
        self.entry = run.resources_for(name)
        named = run.resources.get(name)
        self.own = {key for key, value in plain(named).items() if value is not None} if named else set()

    def size(self, job: JobOf) -> Size | None:
        """Return what a job needs by itself; None where it loads no model, or a tiny one."""
        if job.merges:
            return None
        sizes = JobSizes(self._run, job.recipe, job.model, job.files, job.shards)
        if self._declared.asks is None:
            return sizes.of(self._rule, self._script)
        asked = model_asked(self._run, job.recipe, self._declared.asks)
        calls = calls_a_record(self._run.recipe(job.recipe), self._rule) or 1
        return sizes.asking(*asked, calls) if asked else None

    def _asked(self, job: JobOf, key: str) -> int:
        """Return what the rule's own entry says, else what the job needs, but no less than `default`."""
        if key in self.own:
            return int(self.entry[key])
        size = self.size(job)
        needed = {} if size is None else {**vars(size), "runtime": size.minutes}
        return max(int(self.entry[key]), int(needed.get(key, 0)))

    def gpus(self, job: JobOf) -> int:
        """Return the GPUs of a job: those of the entry, else those of its model, or of the server that it starts."""
        if job.merges:
            return 0
        if self._declared.asks is None or "gpus" in self.own:
            return self._asked(job, "gpus")
        asked = model_asked(self._run, job.recipe, self._declared.asks)
        return max(int(self.entry["gpus"]), asked[1].gpus if asked else 0)

    def any_gpus(self) -> bool:
        """Say whether a job of some recipe may ask for GPUs."""
        return bool(self.entry["gpus"]) or any(self.gpus(job) for job in self._kinds())

    def _kinds(self) -> Iterator[JobOf]:
        """Yield jobs of each recipe that the rule may have."""
        for name, recipe in self._run.recipes.items():
            yield from (JobOf(name, model) for model in (recipe.train.models if recipe.train else (None,)))

    def memory(self, job: JobOf, attempt: int) -> int:
        """Return the memory of an attempt, in MB: each has as much more, up to a bound."""
        least = self._asked(job, "mem_mb")
        most = int(self.entry.get("max_mem_mb", 2 * least))
        return min(least * attempt, max(most, least))

    def most(self) -> dict[str, int]:
        """Return the most memory, minutes and cores that a job of some recipe asks for at first."""
        jobs = list(self._kinds())
        return {key: max(self._asked(job, key) for job in jobs) for key in ("mem_mb", "runtime", "threads")}

    def minutes(self, job: JobOf) -> int:
        """Return the time limit of a job."""
        return self._asked(job, "runtime")

    def threads(self, job: JobOf) -> int:
        """Return the cores of a job."""
        return self._asked(job, "threads")

    def slurm(self, gpus: int) -> dict[str, Any]:
        """Return what a job asks of SLURM that depends on whether it wants GPUs."""
        site = self._run.site
        partition = self.entry.get("partition") or (site.gpu_partition if gpus else site.cpu_partition)
        options = {"slurm_partition": partition, "constraint": self.entry.get("constraint")}
        options["gpu_model"] = self.entry.get("gpu_model") if gpus else None
        # SLURM queues a preempted job again by itself; a job on a node that failed is left to the retries.
        options["slurm_extra"] = "--requeue" if partition in site.preemptible else None
        return options

    def fixed(self) -> dict[str, Any]:
        """Return the resources that are the same for all jobs of the rule."""
        named = {"slurm_account": "account", "qos": "qos"}
        return {name: self.entry[key] for name, key in named.items() if self.entry.get(key)}

    def nodes(self, job: JobOf) -> int:
        """Return how many nodes a model is trained on."""
        train = self._run.recipe(job.recipe).train
        return train.models[plain_model(job.model or "")].launch.nodes if train else 1

    def several_nodes(self) -> bool:
        """Say whether a job of the rule may have several nodes."""
        trained = (recipe.train.models.values() for recipe in self._run.recipes.values() if recipe.train)
        return self._declared.spreads and any(model.launch.nodes > 1 for models in trained for model in models)

    def spread(self, job: JobOf) -> str:
        """Return what a job on several nodes asks of SLURM besides: one task a node, which starts the processes."""
        gpus, model = self.gpus(job), self.entry.get("gpu_model")
        words = [self.slurm(gpus)["slurm_extra"], "--ntasks-per-node=1"]
        # `gpu` would be the GPUs of all nodes together, however they are spread.
        words += [f"--gpus-per-node={f'{model}:' if model else ''}{gpus}"] if gpus else []
        return " ".join(word for word in words if word)

    def shared_endpoint(self, recipe: str) -> Endpoint | SearchEndpoint | None:
        """Return the endpoint that other jobs ask, too: of a search service or a model; none of a server of our own."""
        if self._declared.searches:
            recall = self._run.recipe(recipe).recall
            return self._run.search.endpoints[recall.http.search_endpoint] if recall and recall.http else None
        asked = model_asked(self._run, recipe, self._declared.asks) if self._declared.asks else None
        return asked[1] if asked and asked[1].kind == "openai" else None

    def shares(self, recipe: str) -> int:
        """Return how many shares of an endpoint's ceilings a job takes; 0 where it asks no server that others ask."""
        endpoint = self.shared_endpoint(recipe)
        if endpoint is None:
            return 0
        # No share may be less than one call: where a ceiling has fewer than there are shares, a job takes several.
        smallest = min(endpoint.max_concurrency, endpoint.requests_per_minute or sys.maxsize)
        return max(int(self.entry["llm"]), -(-self._shares // smallest))

    def is_local(self) -> bool:
        """Say whether jobs run where Snakemake runs: by the entry, or because they only wait for the internet."""
        if self.entry["local"]:
            return True
        if self._run.llm.run_on == "compute":
            return False
        if self._declared.searches or self._rule in ONLINE:
            return True
        online = any(self.shared_endpoint(name) for name in self._run.recipes)
        return online and not self.any_gpus()
