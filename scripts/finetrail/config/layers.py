"""Laying one layer of configuration over another, with the origin of every value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args, get_origin

from finetrail.config.sections.schema import as_section, child, is_mapping, unwrap
from finetrail.config.validate import Problem, place
from finetrail.config.yaml_lines import Document, KeyPath, Place, parse_yaml

Layer = Literal["default", "recipe", "overlay", "user"]
COMMAND_LINE = "--config"


class Origin(NamedTuple):
    """Which layer a value comes from, and where it stands; a default stands in no file."""

    layer: Layer
    file: str = ""
    line: int = 0
    value_line: int = 0
    written: str | None = None

    @property
    def where(self) -> str:
        """The place as ``file:line``; empty for a default."""
        return place(self.file, self.line)

    def __str__(self) -> str:
        return f"{self.layer} {self.where}".strip()


@dataclass
class Layers:
    """Values merged so far, and the origin of each by its path."""

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)

    def copy(self) -> "Layers":
        """Return an independent copy, to lay other layers over."""
        return Layers(_copied(self.tree), dict(self.origins))

    def lay(self, document: Document, layer: Layer, annotation: Any, below: KeyPath = ()) -> None:
        """Lay a document, or what stands at a path of it, over what is here.

        A key without a value (`key:` or `key: null`) takes back what earlier layers said of it.
        """
        _Lay(self, document, layer, below).mapping(self.tree, _at(document.tree, below), (), annotation)

    def origin(self, path: KeyPath) -> Origin:
        """Return the origin of the value at a path, or of the nearest mapping around it."""
        for length in range(len(path), -1, -1):
            if found := self.origins.get(path[:length]):
                return found
        return Origin("default")


class _Lay:
    def __init__(self, layers: Layers, document: Document, layer: Layer, below: KeyPath) -> None:
        self.origins = layers.origins
        self.document = document
        self.layer = layer
        self.below = below

    def mapping(self, base: dict[str, Any], new: Mapping[str, Any], path: KeyPath, annotation: Any) -> None:
        if path or self.layer == "recipe":
            self.origins[path] = self._origin(path)
        else:  # what is missing at the top is missing in the file that all others change
            self.origins.setdefault(path, self._origin(path))
        section = as_section(annotation)
        for key in new:
            for void in section.replaces.get(key, ()) if section and new[key] is not None else ():
                if void not in new:
                    self._forget(base, void, path)
        for key, value in new.items():
            self._entry(base, key, value, (*path, key), child(annotation, key))

    def _entry(self, base: dict[str, Any], key: str, value: Any, path: KeyPath, annotation: Any) -> None:
        if value is None and annotation is not None and annotation is not Any:
            self._forget(base, key, path[:-1])
            self.origins[path] = self._origin(path)
        elif isinstance(value, dict) and is_mapping(annotation):
            if not isinstance(base.get(key), dict):
                base[key] = {}
            self.mapping(base[key], value, path, annotation)
        else:
            self._forget(base, key, path[:-1])
            base[key] = _copied(value)
            self.origins[path] = self._origin(path)
            self._list_origins(value, path)

    def _list_origins(self, value: Any, path: KeyPath) -> None:
        for index, item in enumerate(value if isinstance(value, list) else ()):
            self.origins[(*path, index)] = self._origin((*path, index))
            self._list_origins(item, (*path, index))

    def _forget(self, base: dict[str, Any], key: str, path: KeyPath) -> None:
        base.pop(key, None)
        gone = (*path, key)
        for known in [known for known in self.origins if known[: len(gone)] == gone]:
            del self.origins[known]

    def _origin(self, path: KeyPath) -> Origin:
        where = self.document.places.get((*self.below, *path), Place(0, 0))
        return Origin(self.layer, self.document.file, *where)


def command_line(config: Mapping[str, Any], annotation: Any) -> Document:
    """Turn the values of --config into a document: texts are read as YAML where the model expects no text.

    Snakemake hands `--config a=true b='{c: 1}'` over as texts, also those inside of nested values.
    """
    problems: list[Problem] = []
    tree = {key: _typed(value, child(annotation, key), problems) for key, value in config.items()}
    return Document(COMMAND_LINE, tree, {}, problems)


def _typed(value: Any, annotation: Any, problems: list[Problem]) -> Any:
    bare = unwrap(annotation)
    if value in ("", "None"):
        return None
    if bare is str or (get_origin(bare) is Literal and isinstance(get_args(bare)[0], str)):
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if isinstance(value, str):
        parsed = parse_yaml(f"value: {value}", COMMAND_LINE)
        problems += [problem._replace(line=0) for problem in parsed.problems]
        value = parsed.tree.get("value", value)
    if isinstance(value, Mapping):
        return {key: _typed(item, child(bare, key), problems) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_typed(item, child(bare, 0), problems) for item in value]
    return value


def _at(tree: dict[str, Any], path: KeyPath) -> Mapping[str, Any]:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None  # type: ignore[assignment, arg-type]
    return tree if isinstance(tree, dict) else {}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
