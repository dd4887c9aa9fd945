"""The files of a configuration: each read once, and the recipes that a recipe is built from."""

from pathlib import Path

from finetrail.config.hints import did_you_mean
from finetrail.config.validate import Problem
from finetrail.config.yaml_lines import Document, load_yaml

CONFIG_FILE = Path("config/config.yaml")
SITE_FILE = Path("config/site.yaml")
RECIPES_FOLDER = Path("config/recipes")
TUTORIAL_FOLDER = Path("config/tutorial")
PROMPTS_FOLDER = Path("config/prompts")


class ConfigFiles:
    """Reads the files under a project's folder and collects their problems.

    Args:
        root: folder of the project; problems name files relative to it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.recipes = {path.stem for path in (root / RECIPES_FOLDER).glob("*.yaml")}
        self._documents: dict[Path, Document] = {}

    def read(self, path: Path) -> Document:
        """Read a file, named relative to the project's folder or in full."""
        path = self.root / path
        if path not in self._documents:
            name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
            self._documents[path] = load_yaml(path, name.as_posix())
            self.problems += self._documents[path].problems
        return self._documents[path]

    def site(self) -> list[Path]:
        """Return the file of what differs between clusters; nothing where there is none."""
        return [SITE_FILE] if (self.root / SITE_FILE).exists() else []

    def recipe(self, name: str) -> Document:
        """Read a recipe."""
        return self.read(RECIPES_FOLDER / f"{name}.yaml")

    def overlay(self, name: str) -> Document | None:
        """Read a recipe's tutorial overlay; None where there is none."""
        path = TUTORIAL_FOLDER / f"{name}.yaml"
        return self.read(path) if (self.root / path).exists() else None

    def chain(self, name: str) -> list[str]:
        """Return the recipes that a recipe is built from, the base first and itself last."""
        chain = [name]
        while isinstance(base := self.recipe(chain[0]).tree.get("extends"), str):
            if base in chain:
                circle = " → ".join([*reversed(chain[: chain.index(base) + 1]), base])
                self._extends_problem(chain[0], f"extends goes in a circle: {circle}", None)
                break
            if base not in self.recipes:
                hint = did_you_mean(base, self.recipes - {name})
                self._extends_problem(chain[0], f"extends: there is no recipe `{base}`", hint)
                break
            chain.insert(0, base)
        return chain

    def _extends_problem(self, name: str, text: str, hint: str | None) -> None:
        document = self.recipe(name)
        self.problems.append(Problem(document.file, document.places[("extends",)].line, text, hint))
