"""The files that the named targets consist of, by recipe; what else is made follows from them."""

from collections.abc import Iterator
from pathlib import Path

from finetrail.config.recipe import RecipeConfig, RunConfig
from finetrail.metrics.summary import summary_lines
from finetrail.workflow.traits import has_one_fold, has_report, judge_is_tested, models_of, weights_folder


class Targets:
    """Paths of a run's targets, for all recipes that it has; `of` chooses those of one.

    Args:
        run: the configuration.
    """

    def __init__(self, run: RunConfig) -> None:
        self._run = run
        self._recipes = run.recipes
        self._results = run.results.as_posix()

    def of(self, name: str, paths: list[str]) -> list[str]:
        """Choose the paths that lie in a recipe's folder."""
        return [path for path in paths if path.startswith(f"{self._results}/{name}/")]

    def per_fold(self, file: str) -> list[str]:
        """List a file of every fold."""
        folds = [(name, fold) for name, recipe in self._recipes.items() for fold in recipe.folds.names]
        return [f"{self._results}/{name}/folds/{fold}/{file}" for name, fold in folds]

    def _per_model(self, name: str, pattern: str) -> list[str]:
        recipe = self._recipes[name]
        pairs = [(model, fold) for model in models_of(recipe) for fold in recipe.folds.names]
        return [f"{self._results}/{name}/{pattern.format(model=model, fold=fold)}" for model, fold in pairs]

    def metrics(self) -> list[str]:
        """List the metrics files: of rankings, then of models."""
        ranking = [
            f"{self._results}/{name}/metrics/ranking.json"
            for name, recipe in self._recipes.items()
            if recipe.recall and recipe.rerank.train and recipe.evaluate
        ]
        scored = [name for name, recipe in self._recipes.items() if recipe.evaluate]
        return ranking + [path for name in scored for path in self._per_model(name, "metrics/{model}/{fold}.json")]

    def plots(self) -> list[str]:
        """List the criteria of success, and the pictures and pages beside the metrics."""
        return [path for name, recipe in self._recipes.items() for path in self._plots_of(name, recipe)]

    def _plots_of(self, name: str, recipe: RecipeConfig) -> Iterator[str]:
        metric = recipe.evaluate.metric if recipe.evaluate else None
        if metric == "hops":
            yield from self._per_model(name, "criteria/{model}/{fold}/criteria.json")
        if metric == "turns":
            yield from self._per_model(name, "plots/{model}/{fold}.risk_coverage.svg")
        yield from self._per_model(name, "plots/{model}/{fold}.loss.svg")
        if recipe.vision:
            yield from self._per_model(name, "plots/{model}/{fold}.targets.svg")
        if metric == "texts":
            yield from (f"{self._results}/{name}/comparison/{fold}/index.html" for fold in recipe.folds.names)

    def retrieval(self) -> list[str]:
        """List the reports on retrieval."""
        reporting = [name for name, recipe in self._recipes.items() if has_report(recipe)]
        files = ("metrics/retrieval.json", "plots/retrieval.svg")
        return [f"{self._results}/{name}/{file}" for name in reporting for file in files]

    def models(self) -> list[str]:
        """List the manifests of the trained models."""
        return [f"{folder}/manifest.json" for folder in self.model_folders().values()]

    def model_folders(self) -> dict[str, str]:
        """Return the folders of the trained models by recipe, model and fold, joined by dashes."""
        return {
            f"{name}-{model}-{fold}": f"{self._results}/{name}/models/{model}/{fold}/{weights_folder(recipe, model)}"
            for name, recipe in self._recipes.items()
            for model in models_of(recipe)
            for fold in recipe.folds.names
        }

    def exports(self) -> list[str]:
        """List the files of the exported folders."""
        exporting = [name for name, one in self._recipes.items() if one.export and one.export.format != "none"]
        files = ("ollama/{model}/{fold}/parity.json", "ollama/{model}/{fold}/Modelfile")
        return [path for name in exporting for file in files for path in self._per_model(name, file)]

    def data(self) -> list[str]:
        """List what the data side makes beside the folds: formatted pairs, and calibrations of labellers and judges."""
        found = [path for name, recipe in self._recipes.items() for path in self._pairs_of(name, recipe)]
        tested = [(name, "label") for name, one in self._recipes.items() if one.label and one.label.calibration]
        tested += [(name, "judge") for name, one in self._recipes.items() if judge_is_tested(one)]
        files = ("{}_calibration.json", "plots/{}_calibration.svg")
        return found + [f"{self._results}/{name}/{file.format(kind)}" for name, kind in tested for file in files]

    def _pairs_of(self, name: str, recipe: RecipeConfig) -> Iterator[str]:
        synthesize = recipe.synthesize
        if synthesize is not None and synthesize.kind == "questions":
            yield f"{self._results}/{name}/validation_report.json"
            for form in synthesize.templates:
                yield f"{self._results}/{name}/formatted/{form}_t{synthesize.threshold}.jsonl"

    def prompts(self) -> list[str]:
        """List the rendered prompts of recipes that say which family their base model is of."""
        return [
            f"{self._results}/{name}/prompts/{recipe.base_model.family}.jsonl"
            for name, recipe in self._recipes.items()
            if recipe.train and recipe.base_model and recipe.base_model.family and has_one_fold(recipe)
        ]

    def audits(self) -> list[str]:
        """List the audit files."""
        return [f"{self._results}/{name}/audit/files.json" for name in self._recipes]

    def ends(self) -> list[str]:
        """List what nothing but the audit is made of, and the report of each fold: all other files lead to these."""
        made = [*self.metrics(), *self.plots(), *self.retrieval(), *self.exports(), *self.models()]
        return [*made, *self.data(), *self.prompts(), *self.per_fold("report.json"), *self.per_fold("card.md")]

    def summary(self) -> list[str]:
        """Say what a successful run came to: the scores, where they stand, and how to load the model."""
        made = [Path(path) for path in self.metrics() if Path(path).is_file()]
        load = f"make ollama RECIPE={' '.join(self._recipes)} SCALE={self._run.scale}"
        scores = [line for path in made for line in summary_lines(path)]
        return [*scores, *([f"Load into Ollama: {load}"] if made and self.exports() else [])]
