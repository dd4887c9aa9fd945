"""What a script says of itself in literals: what decides its result, and which arguments it takes.

The workflow reads these from the script's syntax tree, so that it imports no step. A script may assign, at its top
level:

``SETTINGS``
    dotted result keys of the recipe; ``{model}`` stands for the model of the job.
``ASKS``
    the key of the model that the step asks, such as ``label.model``; it is one of the settings as well.
``SEARCHES``
    True of a step that asks the recipe's search service.
``PROMPT``
    the name of the prompt, without its suffix.
``ENVIRONMENT``
    the environment under ``envs/`` whose versions change the result.
``SPREADS``
    True of a step that may run on several nodes.
"""

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from finetrail.errors import FinetrailError

_LITERALS: dict[str, type] = {
    "SETTINGS": tuple,
    "ASKS": str,
    "SEARCHES": bool,
    "PROMPT": str,
    "ENVIRONMENT": str,
    "SPREADS": bool,
}
# What parsers of the library add to those of a script: inputs, outputs, options.
_PARSERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "asking_parser": (("shards",), (), ("shares", "shard")),
    "plot_parser": ((), ("picture",), ("title",)),
}


@dataclass(frozen=True)
class Declared:
    """The declarations of one script.

    Attributes:
        settings, asks, searches, prompt, environment, spreads: the literals, in lower case.
        inputs, outputs: the arguments that name files, without dashes, in the order of the script.
        options: the other arguments.
    """

    settings: tuple[str, ...] = ()
    asks: str | None = None
    searches: bool = False
    prompt: str | None = None
    environment: str | None = None
    spreads: bool = False
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    options: frozenset[str] = field(default_factory=frozenset)


@cache
def read_declared(script: Path) -> Declared:
    """Read what a script declares.

    Raises:
        FinetrailError: a declaration is no literal, or is of a kind that no rule can use.
    """
    tree = ast.parse(script.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    declarations = _assigned(tree, nodes, script)
    literals = {name: _checked(name, _literal(value, script), script) for name, value in declarations}
    named: dict[str, list[str]] = {"add_input": [], "add_output": [], "add_argument": []}
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        function = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if function in named:
            flag = _literal(call.args[0 if function == "add_argument" else 1], script)
            named[function].append(flag.lstrip("-").replace("-", "_"))
        for known, added in zip(named.values(), _PARSERS.get(function, ()), strict=False):
            known += added
    return Declared(
        **{name.lower(): value for name, value in literals.items()},
        inputs=tuple(named["add_input"]),
        outputs=tuple(named["add_output"]),
        options=frozenset(named["add_argument"]),
    )


def _assigned(tree: ast.Module, nodes: list[ast.AST], script: Path) -> list[tuple[str, ast.expr]]:
    """Return the declarations; every other way to bind their names would be lost in silence, and is refused."""
    plain = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    found = [(node.targets[0].id, node.value) for node in plain if isinstance(node.targets[0], ast.Name)]
    seen = {id(target) for node in plain for target in node.targets}
    for node in nodes:
        bound = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in _LITERALS
        if isinstance(node, ast.Name) and bound and id(node) not in seen:
            hint = f"Write it at the top level of the script, without an annotation: {node.id} = …"
            raise FinetrailError(f"{node.id} is declared in another form", where=f"{script}:{node.lineno}", hint=hint)
    return [(name, value) for name, value in found if name in _LITERALS]


def _checked(name: str, value: Any, script: Path) -> Any:
    kind = _LITERALS[name]
    keys = value if isinstance(value, tuple) else ()
    if not isinstance(value, kind) or not all(isinstance(key, str) for key in keys):
        wanted = "a tuple of strings: SETTINGS = ('key',)" if kind is tuple else f"a {kind.__name__}"
        raise FinetrailError(f"{name} is {value!r}", where=str(script), hint=f"Write {wanted}")
    return value


def _literal(value: ast.expr, script: Path) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError as error:
        where = f"{script}:{value.lineno}"
        hint = "The workflow reads it without running the script: write the value out"
        raise FinetrailError("a declaration of a step is no literal", where=where, hint=hint) from error
