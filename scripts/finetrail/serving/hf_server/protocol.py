"""The subset of OpenAI's chat completions that is understood; what is not understood is refused, never ignored."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KNOWN = frozenset(
    {"model", "messages", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens", "logprobs",
     "top_logprobs", "response_format"}
)  # fmt: skip
DEFAULT_MAX_TOKENS = 512
MOST_VERSIONS = 128
MOST_LOGPROBS = 20


class Refusal(Exception):
    """A request that is answered with an error, as OpenAI's servers word it."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


@dataclass(frozen=True)
class Chat:
    """One question: its messages as chat templates take them, its images, and how the answers are drawn.

    `logprobs`: None for none, else so many others beside each token. `schema`: JSON Schema of the answers.
    """

    messages: list[dict[str, Any]]
    images: list[bytes]
    versions: int
    seed: int | None
    temperature: float
    top_p: float
    max_tokens: int
    logprobs: int | None
    schema: dict[str, Any] | None


@dataclass(frozen=True)
class Written:
    """One answer: its tokens' texts as they are shown with their log-probabilities, and why it ended."""

    text: str
    tokens: int
    finish_reason: str
    logprobs: list[dict[str, Any]] | None


def read_chat(body: Any, name: str) -> Chat:
    """Read the body of a chat completion.

    Args:
        body: parsed JSON.
        name: the model that is served.

    Raises:
        Refusal: another model, an unknown field, a value out of its range.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "the body is no JSON object", "invalid_request")
    if body.get("model") != name:
        raise Refusal(404, f"the model {body.get('model')!r} does not exist; here is {name}", "model_not_found")
    if unknown := sorted(body.keys() - KNOWN):
        raise Refusal(400, f"Unrecognized request argument supplied: {', '.join(unknown)}", "unknown_parameter")
    messages, images = _messages(body.get("messages"))
    most = "max_tokens" if "max_tokens" in body else "max_completion_tokens"
    others = _number(body, "top_logprobs", 0, 0, MOST_LOGPROBS)
    return Chat(
        messages=messages,
        images=images,
        versions=int(_number(body, "n", 1, 1, MOST_VERSIONS)),
        seed=None if body.get("seed") is None else int(_number(body, "seed", 0, -(2**63), 2**63)),
        temperature=_number(body, "temperature", 1.0, 0, 2),
        top_p=_number(body, "top_p", 1.0, 0, 1),
        max_tokens=int(_number(body, most, DEFAULT_MAX_TOKENS, 1, 1 << 20)),
        logprobs=int(others) if body.get("logprobs") else None,
        schema=_schema(body.get("response_format")),
    )


def _number(body: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise Refusal(400, f"{name} must be a number from {least:g} to {most:g}, found {value!r}", "invalid_value")
    return value


def _schema(wanted: Any) -> dict[str, Any] | None:
    if wanted is None or wanted == {"type": "text"}:
        return None
    entry = wanted.get("json_schema") if isinstance(wanted, dict) and wanted.get("type") == "json_schema" else None
    schema = entry.get("schema") if isinstance(entry, dict) else None
    if not isinstance(schema, dict):
        raise Refusal(400, "response_format is known as json_schema with a schema, and as text", "invalid_value")
    return schema


def _messages(given: Any) -> tuple[list[dict[str, Any]], list[bytes]]:
    if not isinstance(given, list) or not given:
        raise Refusal(400, "messages must be a list with a message", "invalid_value")
    images: list[bytes] = []
    messages = [_message(message, images) for message in given]
    return messages, images


def _message(message: Any, images: list[bytes]) -> dict[str, Any]:
    """Return a message as a chat template takes it; its images are added to the list."""
    content = message.get("content") if isinstance(message, dict) else None
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ("system", "user", "assistant"):
        raise Refusal(400, f"a message's role is system, user or assistant, found {role!r}", "invalid_value")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise Refusal(400, "a message's content is a text or a list of parts", "invalid_value")
    return {"role": role, "content": [_part(part, images) for part in content]}


def _part(part: Any, images: list[bytes]) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind != "image_url":
        raise Refusal(400, f"a part of a message is text or image_url, found {kind!r}", "invalid_value")
    url = (part.get("image_url") or {}).get("url")
    head, _, data = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise Refusal(400, "an image must be a data URL: nothing is fetched", "invalid_value")
    try:
        images.append(base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise Refusal(400, f"an image is no base64: {error}", "invalid_value") from error
    return {"type": "image"}


def completion(name: str, prompt_tokens: int, answers: list[Written]) -> dict[str, Any]:
    """Render the answers to one question."""
    tokens = sum(answer.tokens for answer in answers)
    return {
        "id": "chatcmpl-own",
        "object": "chat.completion",
        "created": 0,
        "model": name,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": None if answer.logprobs is None else {"content": answer.logprobs},
                "finish_reason": answer.finish_reason,
            }
            for index, answer in enumerate(answers)
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
        },
    }
