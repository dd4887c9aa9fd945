"""What a validation error says: what was expected, what was found, and the nearest valid key."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic_core import ErrorDetails

from finetrail.config.layers import COMMAND_LINE, Layers, Origin
from finetrail.config.sections.fields import Section
from finetrail.config.sections.schema import as_section, descend, unwrap, walk_keys
from finetrail.config.validate import Problem
from finetrail.config.yaml_lines import KeyPath

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_too_short": "a text that is not empty",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_pattern_mismatch": "text of the form {pattern}",
}
_MAY_BE_SECRET = {"api_key_env", "base_url"}
_BOOLEAN = re.compile(r"(?i:yes|no|on|off|y|n)$")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a name, or None when none is."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return a hint that names the nearest known name, or all of them where none is near and they are few."""
    listed = sorted(known)
    if found := nearest(name, listed):
        return f"Did you mean `{found}`?"
    return f"Known: {', '.join(listed)}" if 0 < len(listed) <= 20 else None


def dotted(path: Sequence[str | int]) -> str:
    """Render a path as a dotted key, with list positions in brackets counted from 0."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def shown(value: Any, origin: Origin) -> str:
    """Render a value as it was found, and how YAML reads it where that may surprise."""
    if isinstance(value, bool) and origin.written and _BOOLEAN.match(origin.written):
        return f"`{origin.written}`, which YAML reads as {str(value).lower()}"
    if isinstance(value, str):
        return f'"{value}" (text)'
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def describe(error: ErrorDetails, root: type[Section], layers: Layers, prefix: str) -> Problem:
    """Turn one of pydantic's errors into a problem with its place.

    Args:
        error: as pydantic gives it.
        root: the section that was validated.
        layers: the values that were validated, with their origins.
        prefix: what messages begin with ("" or "recipe: ").
    """
    path = _known_path(error["loc"], layers.tree, keep_last=error["type"] == "missing")
    origin = layers.origin(path)
    key = dotted(path)
    if error["type"] == "missing":
        text, hint = f"{key} is missing", _meaning(root, path)
    elif error["type"] == "extra_forbidden":
        text, hint = f"unknown key {key}", _nearest_key(root, path)
    elif error["type"] == "value_error":
        text, hint = f"{key}: {error['msg'].removeprefix('Value error, ')}", None
    elif "[key]" in error["loc"]:
        text, hint = f"the name `{path[-1]}` in {dotted(path[:-1])} does not fit", _NAME_HINT
    else:
        text, hint = f"{key}: expected {_expected(error)}", _literal_hint(error, root, path)
        if path and path[-1] not in _MAY_BE_SECRET:
            text += f", found {shown(error['input'], origin)}"
    at_value = error["type"] not in ("missing", "extra_forbidden", "value_error")
    line = origin.value_line if at_value else origin.line
    return Problem(origin.file or COMMAND_LINE, line, prefix + text, hint)


_NAME_HINT = "Use small letters, digits and _"


def _known_path(location: Sequence[str | int], tree: Any, *, keep_last: bool) -> KeyPath:
    """Cut what pydantic appends (members of unions, key markers) off a location."""
    path: KeyPath = ()
    for part in location:
        known = part in tree if isinstance(tree, dict) else isinstance(tree, list) and isinstance(part, int)
        if not known:
            return (*path, part) if keep_last else path
        tree, path = tree[part], (*path, part)
    return path


def _expected(error: ErrorDetails) -> str:
    if error["type"] == "literal_error":
        return f"one of {str(error['ctx']['expected']).replace(' or ', ', ')}"
    template = _EXPECTED.get(error["type"])
    return template.format(**error.get("ctx", {})) if template else error["msg"].removeprefix("Input should be ")


def _literal_hint(error: ErrorDetails, root: type[Section], path: KeyPath) -> str | None:
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return None
    found = nearest(error["input"], map(str, get_args(unwrap(descend(root, path)))))
    return f"Did you mean `{found}`?" if found else None


def _meaning(root: type[Section], path: KeyPath) -> str | None:
    section = as_section(descend(root, path[:-1]))
    field = section.model_fields.get(str(path[-1])) if section else None
    return f"It says: {field.description}" if field and field.description else None


def _nearest_key(root: type[Section], path: KeyPath) -> str | None:
    """Look among the keys of the section first, then for the same key elsewhere."""
    section = as_section(descend(root, path[:-1]))
    known = section.model_fields if section else {}
    name = str(path[-1])
    if found := nearest(name, known):
        return f"Did you mean `{found}`?"
    elsewhere = [key for key, _ in walk_keys(root) if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"Did you mean `{elsewhere[0]}`?"
    return did_you_mean(name, known)
