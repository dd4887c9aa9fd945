"""Answers that must be JSON of a given schema: a strict parse of the answer, or of what stands in its wrapping."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from finetrail.calls.cleaning import Cleaner
from finetrail.llm.enclosed import inner_json
from finetrail.rows.records import canonical_json

LONGEST_PROBLEM = 300
ESCAPED = "\\u00"


class NotAsAsked(ValueError):
    """An answer is no JSON, or not of the schema that was asked for."""


class Parsed(NamedTuple):
    """The value of an answer; `enclosed`: it stood in a fence, in prose or behind reasoning."""

    value: Any
    enclosed: bool = False


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return value


def parse_json(text: str) -> Any:
    """Parse an answer strictly: no text around the JSON, no NaN, no key twice, no half of a surrogate pair.

    Raises:
        NotAsAsked: says what is wrong.
    """
    try:
        value = json.loads(text, object_pairs_hook=_reject_duplicates, parse_constant=_reject_constant)
        canonical_json(value).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise NotAsAsked(f"not valid JSON: {error}") from error
    return value


@cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    return Draft202012Validator(json.loads(schema))


def parse_answer(text: str, schema: Mapping[str, Any] | None) -> Parsed:
    """Parse an answer and check it against its schema; without a schema there is nothing to parse.

    Raises:
        NotAsAsked: says what is wrong, and where in the value.
    """
    if schema is None:
        return Parsed(None)
    try:
        return Parsed(_without_controls(_checked(parse_json(text), schema), text))
    except NotAsAsked as problem:
        inner = inner_json(text)
        if inner is None or inner == text:
            raise
        try:
            value = parse_json(inner)
        except NotAsAsked:
            raise problem from None
        return Parsed(_without_controls(_checked(value, schema), inner), enclosed=True)


def read_kept(text: str, schema: Mapping[str, Any] | None) -> Parsed:
    """Parse an answer that fitted its schema when it was stored; only its wrapping may still stand around it.

    Raises:
        NotAsAsked: it is not what was stored as usable.
    """
    if schema is None:
        return Parsed(None)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return parse_answer(text, schema)
    return Parsed(_without_controls(value, text))


def _without_controls(value: Any, text: str) -> Any:
    """Take out the controls that a text writes as escapes, and so are not seen in it."""
    return Cleaner().value(value) if ESCAPED in text else value


def _checked(value: Any, schema: Mapping[str, Any]) -> Any:
    try:
        problem = next(iter(_validator(canonical_json(schema)).iter_errors(value)), None)
    except (RecursionError, OverflowError) as error:
        raise NotAsAsked(f"the value cannot be checked: {error}") from error
    if problem is not None:
        place = problem.json_path if problem.path else "the object"
        raise NotAsAsked(f"{place}: {problem.message[:LONGEST_PROBLEM]}")
    return value
