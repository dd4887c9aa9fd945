"""Providers of language models on loopback: each has its own models, key, fields that it refuses, and words for it.

The wordings and differences are those that docs/llm.md names with their pages. No answer means anything.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web

from tests.unit.loopback import LoopbackServer

KEY = "sk-a-key-that-is-long-enough"
ENDS = "2030-01-31"
# What each endpoint of config/config.yaml has of what recipes and pages name, and the page that says so (2026-12-01).
MODELS: dict[str, dict[str, str]] = {
    "openai": {
        "gpt-4.1": "https://developers.openai.com/api/reference/resources/%24shared",
        "gpt-4o-mini": "https://developers.openai.com/api/reference/resources/%24shared",
    },
    "anthropic": {"claude-opus-5-5": "https://platform.claude.com/docs/cli-sdks-libraries/libraries/openai-sdk"},
    "gemini": {"gemini-2.5-flash": "https://ai.google.dev/gemini-api/docs/deprecations"},
    "ollama": {"llama2:7b": "https://ollama.com/library/llama2"},
    "vllm": {"Qwen/Qwen3-4B-Instruct-2507": "https://huggingface.co/Qwen/Qwen3-4B-Instruct-2507"},
    "transformers": {
        "meta-llama/Llama-3.2-11B-Vision-Instruct": "https://huggingface.co/meta-llama/Llama-3.2-11B-Vision-Instruct"
    },
}
# Models of published settings that their provider has ended; recipes keep them for the answers that are paid.
ENDED = {("openai", "gpt-4"): "https://developers.openai.com/api/docs/deprecations"}


class Refusal(NamedTuple):
    """A reply that is none: its status and its body."""

    status: int
    body: Any


class ProviderServer(LoopbackServer):
    """Answers as a provider does, under the path that its address has; `bodies` holds what was asked.

    Args:
        provider: a name in `MODELS`.
        prefix: path that comes before /chat/completions.
    """

    def __init__(self, provider: str, prefix: str) -> None:
        self.provider, self.prefix = provider, prefix
        self.bodies: list[dict[str, Any]] = []
        super().__init__("*", "/{path:.*}", self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and request.path == f"{self.prefix}/models":
            own = self.provider == "anthropic"  # whose list is no part of its layer for OpenAI's protocol
            if own and not (request.headers.get("x-api-key") == KEY and "anthropic-version" in request.headers):
                return web.json_response({"type": "error"}, status=401)
            return web.json_response({"object": "list", "data": self._listed()})
        if request.method != "POST" or request.path != f"{self.prefix}/chat/completions":
            return web.Response(status=404, text="<html>Not Found</html>", content_type="text/html")
        if self.provider != "ollama" and request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"message": "Incorrect API key provided"}}, status=401)
        body: dict[str, Any] = json.loads(await request.read())
        self.bodies.append(body)
        refusal = self._refusal(body)
        if refusal is not None:
            return web.json_response(refusal.body, status=refusal.status)
        return web.json_response(self._answer(body))

    def _listed(self) -> list[dict[str, Any]]:
        prefix = "models/" if self.provider == "gemini" else ""
        more = {"shutdown_date": ENDS} if self.provider == "openai" else {}
        return [{"id": f"{prefix}{model}", "object": "model"} | more for model in MODELS[self.provider]]

    def _refusal(self, body: Mapping[str, Any]) -> Refusal | None:
        model = body["model"]
        if model not in MODELS[self.provider]:
            return _unknown_model(self.provider, model)
        if self.provider == "gemini" and "seed" in body:
            said = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
            return Refusal(400, [{"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}])
        if self.provider == "anthropic":
            for name in ("temperature", "top_p"):
                if name in body:
                    said = f"`{name}` is deprecated for this model."
                    return Refusal(400, {"error": {"type": "invalid_request_error", "message": said}})
            if body.get("n", 1) != 1:
                return Refusal(
                    400, {"error": {"type": "invalid_request_error", "message": "n must be 1", "param": "n"}}
                )
        return None

    def _answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        text = json.dumps(_instance(body["response_format"]["json_schema"]["schema"]))
        if self.provider == "anthropic":  # which ignores response_format
            text = f"Here is what you asked for:\n```json\n{text}\n```"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}


def _unknown_model(provider: str, model: str) -> Refusal:
    if provider == "gemini":
        said = f"models/{model} is not found for API version v1main, or is not supported for generateContent."
        return Refusal(404, [{"error": {"code": 404, "message": said, "status": "NOT_FOUND"}}])
    if provider == "anthropic":
        return Refusal(404, {"error": {"type": "not_found_error", "message": f"model: {model}", "param": None}})
    if provider == "ollama":
        return Refusal(404, {"error": {"type": "not_found_error", "message": f"model '{model}' not found"}})
    said = f"The model `{model}` does not exist or you do not have access to it."
    return Refusal(404, {"error": {"message": said, "type": "invalid_request_error", "code": "model_not_found"}})


def _instance(schema: Mapping[str, Any]) -> Any:
    """Return the least value that a schema of ours allows."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"]
    if kind == "object":
        return {name: _instance(schema["properties"][name]) for name in schema["required"]}
    if kind == "array":
        return [_instance(schema["items"]) for _ in range(max(1, schema.get("minItems", 1)))]
    return {"string": "Blue.", "integer": schema.get("minimum", 1), "number": 9, "boolean": True}[kind]
