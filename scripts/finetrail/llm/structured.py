"""Answers that must be JSON of a given schema: strict parse, and the request that asks once for a repair."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from finetrail.llm.request import ChatRequest, Message
from finetrail.rows.records import canonical_json

LONGEST_PROBLEM = 300


class NotAsAsked(ValueError):
    """An answer is no JSON, or not of the schema that was asked for."""


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


def parse_answer(text: str, schema: Mapping[str, Any] | None) -> Any:
    """Parse an answer and check it against its schema; without a schema there is nothing to parse.

    Raises:
        NotAsAsked: says what is wrong, and where in the value.
    """
    if schema is None:
        return None
    value = parse_json(text)
    problem = next(iter(_validator(canonical_json(schema)).iter_errors(value)), None)
    if problem is not None:
        place = problem.json_path if problem.path else "the object"
        raise NotAsAsked(f"{place}: {problem.message[:LONGEST_PROBLEM]}")
    return value


def repair_request(request: ChatRequest, text: str, problem: NotAsAsked) -> ChatRequest:
    """Ask again, showing the model its answer and what is wrong with it."""
    plea = (
        f"Your reply could not be used: {problem}. Reply again with the same content as one JSON object that "
        f"follows this JSON Schema, with nothing before or after it:\n{canonical_json(request.schema)}"
    )
    return replace(
        request, siblings=(), messages=(*request.messages, Message("assistant", text), Message("user", plea))
    )
