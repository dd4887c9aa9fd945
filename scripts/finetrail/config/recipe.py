"""The typed configuration as a whole: the project file, a recipe, and a run (everything merged)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from finetrail.config.sections.data import Folds, Label, Limits, Queries, Source, Splits, Synthesize
from finetrail.config.sections.documents import Documents
from finetrail.config.sections.fields import Count, Name, Section, Text, operation, result
from finetrail.config.sections.llm import Endpoint, Llm
from finetrail.config.sections.recall import Encoder, Recall, Rerank, RetrievalReport
from finetrail.config.sections.schema import plain, result_keys
from finetrail.config.sections.search import Search
from finetrail.config.sections.site import Site
from finetrail.config.sections.student import Student
from finetrail.config.sections.train import BaseModelChoice, Evaluate, Export, Predict, Train
from finetrail.config.sections.vision import Vision
from finetrail.config.yaml_lines import read_yaml
from finetrail.errors import FinetrailError

Scale = Literal["full", "tutorial"]

# The keys that each phase reads, in the order of the chain; every result key belongs to exactly one phase.
PHASES: dict[str, tuple[str, ...]] = {
    "ingest": (
        "limit",
        "source.format",
        "source.files",
        "source.images",
        "source.fetch",
        "source.questions",
        "source.held_out",
        "documents",
        "splits",
    ),
    "recall": ("source.corpus", "queries", "recall", "encoder", "rerank", "retrieval_report"),
    "label": ("label",),
    "synthesize": ("synthesize",),
    "folds": ("folds", "student"),
    "train": ("vision", "base_model", "train", "limits"),
    "evaluate": ("predict", "evaluate"),
    "export": ("export",),
    "audit": ("description", "source.licence", "source.citation"),
}


class Resources(Section):
    """What a rule's job asks for; a key left out is taken from the entry `default`, then as said below.

    A job that loads a model which is not tiny asks for at least what the model needs, by itself: `mem_mb`, `runtime`,
    `threads` and `gpus` of the rule's own entry are above that, those of `default` are not.
    """

    mem_mb: Count | None = operation(None, "memory, in MB; 2000 where nothing is said, more where a model is loaded")
    max_mem_mb: Count | None = operation(
        None, "most memory that growing with the attempts leads to, in MB; twice `mem_mb` where nothing is said"
    )
    runtime: Count | None = operation(
        None, "time limit, in minutes; 60 where nothing is said, more where the rows of a model take longer"
    )
    threads: Count | None = operation(None, "CPU cores; 1 where nothing is said, more where a model is loaded")
    gpus: Annotated[int, Field(ge=0)] | None = operation(
        None, "GPUs; where nothing is said, what the model of the job needs, 0 of a tiny one"
    )
    partition: Text | None = operation(
        None,
        "SLURM partition; where nothing is said, `site.gpu_partition` of a job with GPUs, else `site.cpu_partition`",
    )
    gpu_model: Text | None = operation(None, "GPU model as SLURM names it, such as `a100`; any where nothing is said")
    constraint: Text | None = operation(None, "SLURM constraint: features that the node must have")
    account: Text | None = operation(None, "SLURM account that pays for the job")
    qos: Text | None = operation(None, "SLURM quality of service")
    retries: Annotated[int, Field(ge=0)] | None = operation(
        None,
        "further attempts of a failed job, each with as much more memory; where nothing is said, the profile's: 1 of "
        "`slurm`, none in a local run, which shows a failure at once",
    )
    local: bool | None = operation(None, "whether jobs run where Snakemake runs, none is submitted to a cluster")
    llm: Count | None = operation(
        None,
        "shares of the ceilings of shared endpoints that a job holds, of those in the profile; 1 where nothing is said",
    )


LEAST_RESOURCES: dict[str, Any] = {
    "mem_mb": 2000,
    "runtime": 60,
    "threads": 1,
    "gpus": 0,
    "llm": 1,
    "local": False,
}


class RecipeConfig(Section):
    """A recipe: config/recipes/<recipe>.yaml, and what the other layers change of it."""

    description: Text = result(..., "what the recipe makes, in one sentence")
    extends: Name | None = operation(None, "recipe that this one is a variant of: only the differences are written")
    limit: Count | None = result(None, "pilot: only this many records, chosen by hash; none for all")
    source: Source = result(..., "the original records")
    documents: Documents | None = result(None, "documents, and how they are cut; compulsory for the reader `documents`")
    splits: Splits = result(Splits(), "train, dev and test")
    queries: Queries = result(Queries(), "search queries")
    recall: Recall | None = result(None, "retrieval of passages; without this section the phase is left out")
    encoder: Encoder | None = result(None, "the bi-encoder; compulsory where recall, or the report on it, is dense")
    rerank: Rerank = result(Rerank(), "ranking of the retrieved passages")
    retrieval_report: RetrievalReport | None = result(
        None,
        "how well passages are found, by relevance judgements; made where recall searches a corpus",
    )
    label: Label | None = result(None, "relevance labels; without this section the phase is left out")
    synthesize: Synthesize | None = result(
        None, "synthetic examples; without this section the train records are the examples, as they are"
    )
    folds: Folds = result(Folds(), "data sets for training")
    student: Student | None = result(
        None,
        "the model searches and chooses for itself when deployed, and is taught to; without this section it is "
        "shown what the recipe's own queries and ranking find",
    )
    limits: Limits = result(Limits(), "what of a row a model sees")
    vision: Vision | None = result(None, "models that look at pictures; without this section there are none")
    base_model: BaseModelChoice | None = result(None, "model that tuning starts from")
    train: Train | None = result(None, "tuning; without this section the recipe ends with its folds")
    predict: Predict = result(Predict(), "answers of the models")
    evaluate: Evaluate | None = result(None, "scores; without this section the phase is left out")
    export: Export | None = result(None, "folders for Ollama; without this section the phase is left out")

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that the recipe uses, in the order of the chain."""
        optional = {"recall", "label", "synthesize", "train", "evaluate", "export"}
        return tuple(name for name in PHASES if name not in optional or getattr(self, name) is not None)


class ProjectConfig(Section):
    """The user's choice: config/config.yaml, then --configfile and --config."""

    recipes: list[Name] = operation(..., "recipes that `all` makes", min_length=1)
    scale: Scale = operation("full", "`tutorial` lays config/tutorial/<recipe>.yaml over each recipe")
    results_dir: Text = operation("results", "folder of the results; the tutorial's go to its subfolder `tutorial`")
    llm: Llm = operation(Llm(), "language model endpoints")
    search: Search = operation(Search(), "search services, and limits of fetched pages")
    resources: dict[Name, Resources] = operation({}, "resources by rule; the name `default` holds for all rules")
    site: Site = operation(Site(), "what differs between clusters: config/site.yaml")
    overrides: dict[Name, RecipeConfig] = operation({}, "changes to recipes, by recipe; the same keys as in a recipe")


class RunConfig(Section):
    """A run: every layer merged and checked, as it is written to run_config.yaml.

    `llm_shares` is the cap of Snakemake's resource `llm` when the run was started: how many shares the ceilings of
    shared endpoints are cut into.
    """

    scale: Scale
    results_dir: str
    llm: Llm
    search: Search
    resources: dict[str, Resources]
    site: Site
    recipes: dict[str, RecipeConfig]
    llm_shares: Count | None = None

    @property
    def results(self) -> Path:
        """The folder that the contract's paths are relative to."""
        return Path(self.results_dir) / "tutorial" if self.scale == "tutorial" else Path(self.results_dir)

    def merged(self) -> dict[str, Any]:
        """Return everything as plain data; jobs read it with `finetrail.config.current`."""
        return {name: plain(getattr(self, name)) for name in RunConfig.model_fields}

    def recipe(self, name: str) -> RecipeConfig:
        """Return a recipe.

        Raises:
            FinetrailError: the run has no such recipe.
        """
        if name not in self.recipes:
            known = ", ".join(self.recipes)
            raise FinetrailError(f"the run has no recipe {name!r}", hint=f"It has: {known}")
        return self.recipes[name]

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint that a model reference names."""
        return self.llm.endpoints[name]

    def settings_at(self, recipe: str, *keys: str) -> dict[str, Any]:
        """Return the *result* keys under dotted keys, such as ``train.models.lora``, nested as in the recipe.

        Raises:
            KeyError: the recipe has no such key (a bug in a rule, not in the configuration).
        """
        return _pick(result_keys(self.recipe(recipe)), keys)

    def result_settings(self, recipe: str) -> dict[str, Any]:
        """Return all *result* keys of a recipe, nested as in the recipe."""
        return result_keys(self.recipe(recipe))

    def resources_for(self, rule: str) -> dict[str, Any]:
        """Return what a rule's job asks for: its own entry over `default` over `LEAST_RESOURCES`."""
        asked = dict(LEAST_RESOURCES)
        for name in ("default", rule):
            if entry := self.resources.get(name):
                asked |= {key: value for key, value in plain(entry).items() if value is not None}
        return asked


def _pick(tree: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Copy what stands under dotted keys, with the mappings that lead there; nothing of a section that is left out."""
    picked: dict[str, Any] = {}
    for dotted in keys:
        *above, last = dotted.split(".")
        source: dict[str, Any] | None = tree
        for name in above:
            source = source and source[name]
        if source is not None:
            target = picked
            for name in above:
                target = target.setdefault(name, {})
            target[last] = source[last]
    return picked


def read_run_config(path: Path) -> RunConfig:
    """Read a run_config.yaml.

    Raises:
        FinetrailError: the file is not what `RunConfig.merged` gives.
    """
    try:
        return RunConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise FinetrailError(
            f"{key}: {first['msg']}",
            where=str(path),
            hint="The file is written by the workflow: start the run again",
        ) from error
