"""JSON Schemas of the answers that the phases ask for, written out.

They keep to what strict structured output allows everywhere: every property required, none besides, no
lengths. The offline teacher recognises a task by the schema's name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class ResponseSchema(NamedTuple):
    """A schema and the name that it goes by."""

    name: str
    schema: Mapping[str, Any]


def _object(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SEARCH_QUERIES = ResponseSchema(
    "search_queries",
    _object(
        queries={
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "description": "One to three web search queries, the best first.",
        }
    ),
)

RELEVANCE = ResponseSchema(
    "relevance",
    _object(
        reason={"type": "string", "description": "One short sentence, written before the decision."},
        relevant={"type": "boolean", "description": "Whether the passage helps to answer the question."},
    ),
)

GRADED_RELEVANCE = ResponseSchema(
    "graded_relevance",
    _object(
        reason={"type": "string", "description": "One short sentence, written before the grade."},
        grade={"type": "integer", "enum": [0, 1, 2, 3], "description": "How far the passage answers the question."},
    ),
)

GROUNDED_ANSWER = ResponseSchema(
    "grounded_answer",
    _object(answer={"type": "string", "description": "The answer, or: I don't know"}),
)

ANSWER_VERDICT = ResponseSchema(
    "answer_verdict",
    _object(
        reason={"type": "string", "description": "One short sentence, written before the decision."},
        correct={"type": "boolean", "description": "Whether the answer says what the reference answer says."},
    ),
)

QUESTIONS = ResponseSchema(
    "questions",
    _object(
        pairs={
            "type": "array",
            "items": _object(
                question={"type": "string", "description": "A question that stands alone."},
                answer={"type": "string", "description": "The answer, from the text alone."},
                evidence={"type": "string", "description": "The words of the text that hold the answer, copied."},
            ),
        }
    ),
)

_SENTENCE = "Exactly one sentence, ending with a full stop."

IMAGE_SENTENCES = ResponseSchema(
    "image_sentences",
    _object(
        visual_1={"type": "string", "description": f"What is seen. {_SENTENCE}"},
        visual_2={"type": "string", "description": f"What else is seen. {_SENTENCE}"},
        physical={"type": "string", "description": f"What it means. {_SENTENCE}"},
    ),
)

LINK_SENTENCE = ResponseSchema(
    "link_sentence", _object(link={"type": "string", "description": f"How the picture bears on the text. {_SENTENCE}"})
)

SUMMARY = ResponseSchema("summary", _object(summary={"type": "string", "description": "One to three sentences."}))


def scores_schema(criteria: Sequence[str]) -> ResponseSchema:
    """Return the schema of scores from 0 to 10 by criterion, and of all of them together."""
    score = {"type": "number", "minimum": 0, "maximum": 10}
    reason = {"type": "string", "description": "One short sentence, written before the scores."}
    return ResponseSchema("scores", _object(reason=reason, **dict.fromkeys((*criteria, "overall"), score)))


def text_scores_schema(criteria: Sequence[str]) -> ResponseSchema:
    """Return the schema of a text's scores against its reference: as `scores_schema`, of another task."""
    return scores_schema(criteria)._replace(name="text_scores")


def chosen_passages_schema(count: int) -> ResponseSchema:
    """Return the schema of a choice among numbered passages, from 1; no other number can be named."""
    numbers = {"type": "array", "items": {"type": "integer", "enum": list(range(1, count + 1))}}
    reason = {"type": "string", "description": "One short sentence, written before the choice."}
    return ResponseSchema("chosen_passages", _object(reason=reason, passages=numbers))
