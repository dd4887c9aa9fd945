"""Loading the configuration: layers are merged, everything is checked, and all errors are shown at once.

Layers, each over the one before: the model's defaults, config/recipes/<recipe>.yaml, at the scale tutorial
config/tutorial/<recipe>.yaml, the user's `overrides` (config/config.yaml, config/site.yaml where there is one,
--configfile, --config).
A variant (`extends`) starts from its base with all of these layers.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationError

from finetrail.config.checks import check_endpoints, check_prices, check_reader, check_search, cross_check
from finetrail.config.files import CONFIG_FILE, PROMPTS_FOLDER, RECIPES_FOLDER, TUTORIAL_FOLDER, ConfigFiles
from finetrail.config.hints import describe, did_you_mean
from finetrail.config.layers import COMMAND_LINE, Layer, Layers, Origin, command_line
from finetrail.config.recipe import ProjectConfig, RecipeConfig, RunConfig
from finetrail.config.sections.fields import Section
from finetrail.config.validate import Problem, raise_problems
from finetrail.config.yaml_lines import Document, KeyPath
from finetrail.errors import FinetrailError

__all__ = ["LoadedConfig", "Origin", "load_config"]


class LoadedConfig(RunConfig):
    """A run's configuration with the origin of every value."""

    _project: Layers = PrivateAttr(default_factory=Layers)
    _layers: dict[str, Layers] = PrivateAttr(default_factory=dict)
    _files: ConfigFiles = PrivateAttr()

    def set_origins(self, project: Layers, recipes: dict[str, Layers], files: ConfigFiles) -> None:
        """Keep where the values come from."""
        self._project, self._layers, self._files = project, recipes, files

    def prompt_path(self, recipe: str, name: str) -> Path:
        """Return the path of a prompt, relative to the project: the recipe's own, else that of what it extends.

        Raises:
            FinetrailError: neither the recipe nor its bases have it.
        """
        paths = [PROMPTS_FOLDER / member / f"{name}.md" for member in reversed(self._files.chain(recipe))]
        for path in paths:
            if (self._files.root / path).is_file():
                return path
        raise FinetrailError("there is no such prompt", where=paths[0].as_posix(), hint="Write it")

    def origin(self, key: str) -> Origin:
        """Return where a value comes from, such as ``llm.mode`` or ``recipes.mine.train.save_steps``."""
        path: KeyPath = tuple(key.split("."))
        if path[0] == "recipes" and len(path) > 1:
            return self._layers[str(path[1])].origins.get(path[2:], Origin("default"))
        return self._project.origins.get(path, Origin("default"))

    def origins(self, recipe: str) -> dict[str, str]:
        """Return where every result value of a recipe comes from, by its dotted key, such as ``overlay file:line``."""
        return {key: str(self.origin(f"recipes.{recipe}.{key}")) for key in _leaves(self.result_settings(recipe))}


def load_config(
    root: Path,
    *,
    configfiles: Sequence[Path] = (),
    config: Mapping[str, Any] | None = None,
    rule_names: Collection[str] = (),
    reader_names: Collection[str] = (),
) -> LoadedConfig:
    """Load and check the configuration.

    Args:
        root: folder of the project; messages name files relative to it.
        configfiles: files of --configfile, of the same form as config/config.yaml.
        config: values of --config.
        rule_names: the workflow's rules, to check `resources` against; empty for no check.
        reader_names: the readers of original records, to check `source.format` against; empty for no check.

    Raises:
        FinetrailError: lists everything that is wrong, each with ``file:line``, and the nearest valid key.
    """
    files = ConfigFiles(root)
    return _Loading(files, rule_names, reader_names).load(configfiles, config or {})


class _Loading:
    def __init__(self, files: ConfigFiles, rule_names: Collection[str], reader_names: Collection[str]) -> None:
        self.files = files
        self.rule_names = rule_names
        self.reader_names = reader_names
        self.problems = files.problems

    def load(self, configfiles: Sequence[Path], config: Mapping[str, Any]) -> LoadedConfig:
        user = [self.files.read(path) for path in (CONFIG_FILE, *self.files.site(), *configfiles)]
        given = command_line(config, ProjectConfig)
        self.problems += given.problems
        project = Layers()
        for document in (*user, given):
            project.lay(document, "user", ProjectConfig)
        overrides = self.overrides(project)
        if all(document.tree for document in user):
            self.validate(ProjectConfig, project, "")
            self.check_resources(project)
        scale = str(project.tree.get("scale"))
        names = self.names(project, overrides)
        recipes = {name: self.recipe(name, (*user, given), scale) for name in names}
        self.check_recipes(recipes, project)
        raise_problems(self.problems)
        return _loaded(project, recipes, self.files)

    def add(self, layers: Layers, path: KeyPath, text: str, hint: str | None = None) -> None:
        """Note a problem at the place that a value comes from."""
        origin = layers.origin(path)
        self.problems.append(Problem(origin.file or COMMAND_LINE, origin.line, text, hint))

    def validate(self, section: type[Section], layers: Layers, prefix: str) -> set[str]:
        """Validate merged values; return the top keys that are wrong."""
        try:
            section.model_validate(layers.tree)
        except ValidationError as error:
            details = error.errors(include_url=False)
            self.problems += [describe(detail, section, layers, prefix) for detail in details]
            return {str(detail["loc"][0]) for detail in details if detail["loc"]}
        return set()

    def check_resources(self, project: Layers) -> None:
        asked = project.tree.get("resources")
        if not isinstance(asked, dict) or not self.rule_names:
            return
        for name in asked.keys() - {"default", *self.rule_names}:
            hint = did_you_mean(name, {"default", *self.rule_names})
            self.add(project, ("resources", name), f"resources: there is no rule `{name}`", hint)

    def overrides(self, project: Layers) -> list[str]:
        """Take the overrides out of the project's values; return the recipes that they name."""
        overrides = project.tree.pop("overrides", {})
        if not isinstance(overrides, dict):
            self.add(project, ("overrides",), "overrides: expected a mapping of recipes to their changes")
            return []
        for name, changes in overrides.items():
            if not isinstance(changes, dict):
                self.add(project, ("overrides", name), f"overrides.{name}: expected a mapping of keys to values")
        return list(overrides)

    def names(self, project: Layers, overridden: Sequence[str]) -> list[str]:
        """Return the recipes to check: those of `recipes`, then those that only `overrides` names."""
        chosen = project.tree.get("recipes")
        listed = [name for name in chosen if isinstance(name, str)] if isinstance(chosen, list) else []
        known = self.files.recipes
        named: list[tuple[KeyPath, str]] = [(("recipes", index), name) for index, name in enumerate(listed)]
        named += [(("overrides", name), name) for name in overridden]
        for path, name in named:
            if name not in known:
                self.add(project, path, f"{path[0]}: there is no recipe `{name}`", did_you_mean(name, known))
        return [name for name in dict.fromkeys(name for _, name in named) if name in known]

    def recipe(self, name: str, user: Sequence[Document], scale: str) -> Layers | None:
        """Merge the layers of a recipe, its base's first; None where a file is unreadable."""
        layers = Layers()
        readable, overlaid = True, scale != "tutorial"
        chain = self.files.chain(name)
        for member in chain:
            recipe = self.files.recipe(member)
            readable &= bool(recipe.tree)
            layers.tree.pop("extends", None)
            layers.lay(recipe, "recipe", RecipeConfig)
            if scale == "tutorial" and (overlay := self.files.overlay(member)):
                overlaid = True
                self.lay_change(layers, overlay, "overlay", ())
            for document in user:
                self.lay_change(layers, document, "user", ("overrides", member))
        if readable and not overlaid and "extends" not in self.files.recipe(chain[0]).tree:
            text = f"{name} has no tutorial: {TUTORIAL_FOLDER / name}.yaml is missing"
            hint = "Write it, or use `scale: full` (of make: SCALE=full)"
            self.problems.append(Problem(self.files.recipe(name).file, 0, text, hint))
        return layers if readable else None

    def lay_change(self, layers: Layers, document: Document, layer: Layer, below: KeyPath) -> None:
        """Lay an overlay or the user's overrides over a recipe."""
        if place := document.places.get((*below, "extends")):
            hint = f"A variant is a recipe of its own: a file under {RECIPES_FOLDER}"
            self.problems.append(Problem(document.file, place.line, "extends stands in a recipe file only", hint))
        layers.lay(document, layer, RecipeConfig, below)

    def check_recipes(self, recipes: Mapping[str, Layers | None], project: Layers) -> None:
        llm = project.tree.get("llm")
        endpoints = llm.get("endpoints") if isinstance(llm, dict) else None
        for name, layers in recipes.items():
            if layers is None:
                continue
            broken = self.validate(RecipeConfig, layers, f"{name}: ")
            findings = [*cross_check(layers.tree, broken), *check_reader(layers.tree, self.reader_names)]
            findings += check_endpoints(layers.tree, endpoints if isinstance(endpoints, dict) else {})
            findings += check_prices(layers.tree, llm if isinstance(llm, dict) else {})
            findings += check_search(layers.tree, project.tree)
            for path, text, hint in findings:
                self.add(layers, path, f"{name}: {text}", hint)


def _loaded(project: Layers, recipes: Mapping[str, Layers | None], files: ConfigFiles) -> LoadedConfig:
    """Build the configuration from values that were found to be valid."""
    chosen = ProjectConfig.model_validate(project.tree)
    layers = {name: recipe for name, recipe in recipes.items() if recipe is not None}
    loaded = LoadedConfig(
        scale=chosen.scale,
        results_dir=chosen.results_dir,
        llm=chosen.llm,
        search=chosen.search,
        resources=chosen.resources,
        site=chosen.site,
        recipes={name: RecipeConfig.model_validate(layers[name].tree) for name in chosen.recipes},
    )
    loaded.set_origins(project, layers, files)
    return loaded


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted keys of values that are no mappings."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"
