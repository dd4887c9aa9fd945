"""YAML files read with the line of every key and value; duplicate keys are errors.

Types follow YAML 1.1 as PyYAML reads it (`no` is false), but numbers follow YAML 1.2: `5e-5` is a number, and
`010`, `1:30` and `2020-01-01` stay text.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from finetrail.config.validate import Problem, raise_problems

KeyPath = tuple[str | int, ...]

_PREFIX = "tag:yaml.org,2002:"
_TYPES = {_PREFIX + name for name in ("null", "bool", "int", "float", "str", "map", "seq")}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
    r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)


class Place(NamedTuple):
    """Where an entry stands: the lines (from 1) of its key and of its value, and a plain value as written."""

    line: int
    value_line: int
    written: str | None = None


class Document(NamedTuple):
    """A parsed file: plain values, the place of each by its path, and what is wrong with it."""

    file: str
    tree: dict[str, Any]
    places: dict[KeyPath, Place]
    problems: list[Problem]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2 and without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag in {_PREFIX + "bool", _PREFIX + "null", _PREFIX + "merge"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_PREFIX + "int", _INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver(_PREFIX + "float", _FLOAT, list("-+.0123456789"))


class _Reader:
    """Turns the nodes of one document into values and places."""

    def __init__(self, file: str, loader: _Loader) -> None:
        self.file = file
        self.loader = loader
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []
        self._open: list[yaml.Node] = []

    def problem(self, node: yaml.Node, text: str, hint: str | None = None) -> None:
        """Note something wrong at a node."""
        self.problems.append(Problem(self.file, node.start_mark.line + 1, text, hint))

    def no_value(self, node: yaml.Node, text: str, hint: str | None = None) -> Any:
        """Note something wrong at a node whose value can then not be used."""
        self.problem(node, text, hint)
        return None

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """Construct a node's value; None where it cannot be."""
        if any(node is above for above in self._open):
            return self.no_value(node, "an alias refers to a value that it is part of")
        if node.tag not in _TYPES:
            return self.no_value(node, f"the tag {node.tag!r} is not allowed", "Write a plain value")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self._open.pop()

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return self.loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return self.no_value(node, f"cannot read {node.value!r} as {node.tag.removeprefix(_PREFIX)}")

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.places[path] = Place(line, line, _written(node))
        return self.value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self._check_duplicates(node)
        self.loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag != _PREFIX + "str":
                written = getattr(key_node, "value", "")
                kind = key_node.tag.removeprefix(_PREFIX)
                hint = f'Write "{written}" in quotes if it is meant'
                self.problem(
                    key_node,
                    f"the key `{written}` is read by YAML as {_KINDS.get(kind, kind)}, not as text",
                    hint,
                )
                continue
            here = (*path, str(key_node.value))
            lines = key_node.start_mark.line + 1, value_node.start_mark.line + 1
            self.places[here] = Place(*lines, _written(value_node))
            result[key_node.value] = self.value(value_node, here)
        return result

    def _check_duplicates(self, node: yaml.MappingNode) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _PREFIX + "merge":
                continue
            if key_node.value in first:
                before = f"line {first[key_node.value]}"
                self.problem(key_node, f"the key `{key_node.value}` stands here and on {before}", "Keep one of them")
            first.setdefault(key_node.value, key_node.start_mark.line + 1)


_KINDS = {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing"}


def _written(node: yaml.Node) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) and node.style is None else None


def load_yaml(path: Path, name: str | None = None) -> Document:
    """Read a YAML file that holds one mapping.

    Args:
        path: the file.
        name: how messages call it; None for the path itself.

    Returns:
        The document with its problems; nothing is raised, so that those of several files show together.
    """
    name = name or path.as_posix()
    try:
        raw = path.read_bytes()
    except OSError as error:
        return Document(name, {}, {}, [Problem(name, 0, f"cannot be read: {error.strerror}")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return Document(name, {}, {}, [Problem(name, line, "invalid UTF-8", "Save the file as UTF-8")])
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> Document:
    """Parse a text that holds one mapping; see `load_yaml`."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        return Document(
            name, {}, {}, [Problem(name, line, f"the character {error.character!r} is not allowed in YAML")]
        )
    except yaml.MarkedYAMLError as error:
        return Document(name, {}, {}, [_syntax_problem(error, name)])
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _PREFIX + "null"):
        return Document(name, {}, {}, [Problem(name, 1, "the file is empty; expected a mapping of keys to values")])
    reader = _Reader(name, loader)
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        reader.problem(node, f"expected a mapping of keys to values, found {kind}")
        return Document(name, {}, {}, reader.problems)
    reader.places[()] = Place(1, 1)
    return Document(name, reader.value(node, ()) or {}, reader.places, reader.problems)


def _syntax_problem(error: yaml.MarkedYAMLError, name: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    text = " ".join(part for part in (error.context, error.problem) if part)
    hint = "Indent with spaces, not with tabs" if "'\\t'" in text else None
    return Problem(name, mark.line + 1 if mark else 1, f"not valid YAML: {text}", hint)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping into plain values.

    Raises:
        FinetrailError: lists everything that is wrong with the file, by line.
    """
    document = load_yaml(path)
    raise_problems(document.problems)
    return document.tree
