"""An answer that is not of the form that was asked for: what is wrong with it, and how its repair is asked for."""

from dataclasses import replace

from finetrail.calls.cleaning import Cleaner
from finetrail.calls.server_protocol import Reply
from finetrail.llm.request import ChatRequest, Message
from finetrail.llm.structured import NotAsAsked, parse_answer
from finetrail.rows.records import canonical_json

SHOWN = 80


def misfit(request: ChatRequest, text: str) -> NotAsAsked | None:
    """Say why an answer does not fit the schema; None where it does."""
    try:
        parse_answer(text, request.schema)
    except NotAsAsked as problem:
        return problem
    return None


def quoted(text: str) -> str:
    """Quote the beginning of an answer, for messages."""
    return f"it begins: {Cleaner().message(text, SHOWN)!r}"


def repair_request(request: ChatRequest, text: str, problem: NotAsAsked) -> ChatRequest:
    """Ask again, showing the model its answer and what is wrong with it."""
    plea = (
        f"Your reply could not be used: {problem}. Reply again with the same content as one JSON object that "
        f"follows this JSON Schema, with nothing before or after it:\n{canonical_json(request.schema)}"
    )
    messages = (*request.messages, Message("assistant", text), Message("user", plea))
    return replace(request, siblings=(), heard=None, messages=messages)


def combined(first: Reply, repaired: Reply) -> Reply:
    """Return what is stored of an answer and its repair: the repair, with the first text and the tokens of both."""
    usage = None if first.usage is None or repaired.usage is None else first.usage + repaired.usage
    content = {**repaired.content, "usage": usage and vars(usage), "repaired_from": first.content["text"]}
    return replace(repaired, content=content, usage=usage)
