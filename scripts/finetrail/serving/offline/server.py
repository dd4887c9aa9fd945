"""The offline teacher as an HTTP server with OpenAI's chat-completions protocol, on loopback only."""

import argparse
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetrail.rows.records import canonical_json, sha256_text
from finetrail.serving.offline.sections import UnknownRequest, last_user_images, last_user_text
from finetrail.serving.offline.tasks import perform, write_text
from finetrail.serving.offline.teacher import MODEL_ID, teacher_digest

if TYPE_CHECKING:
    from aiohttp import web

KEY_VARIABLE = "FINETRAIL_OFFLINE_KEY"
LARGEST_REQUEST = 64 << 20


class Refusal(Exception):
    """A request that is answered with an error, as OpenAI's servers word it."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def complete(body: dict[str, Any]) -> dict[str, Any]:
    """Answer the body of a chat completion.

    Raises:
        Refusal: the model or the task is unknown.
    """
    if body.get("model") != MODEL_ID:
        raise Refusal(404, f"the model {body.get('model')!r} does not exist; here is {MODEL_ID}", "model_not_found")
    try:
        messages = body.get("messages") or []
        prompt = last_user_text(messages)
        name = ((body.get("response_format") or {}).get("json_schema") or {}).get("name")
        if name is None:
            text = write_text(prompt, body.get("seed"))
        else:
            text = json.dumps(perform(name, prompt, body.get("seed"), last_user_images(messages)), ensure_ascii=False)
    except UnknownRequest as error:
        raise Refusal(400, str(error), "unknown_task") from error
    prompt_tokens, completion_tokens = len(prompt.split()), len(text.split())
    return {
        "id": f"chatcmpl-{sha256_text(canonical_json(body))[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL_ID,
        "system_fingerprint": teacher_digest(),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def make_app(key: str) -> "web.Application":
    """Build the server; requests must carry the key."""
    from aiohttp import web

    def check(request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {key}":
            raise Refusal(401, "wrong API key", "invalid_api_key")

    @web.middleware
    async def refuse(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            check(request)
            response: web.StreamResponse = await handler(request)
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status)
        return response

    async def models(request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": MODEL_ID, "object": "model", "owned_by": "finetrail"}]}
        )

    async def completions(request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError as error:
            raise Refusal(400, f"the body is not JSON: {error}", "invalid_json") from error
        return web.json_response(complete(body))

    app = web.Application(middlewares=[refuse], client_max_size=LARGEST_REQUEST)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", completions)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; the API key comes from the environment."""
    from aiohttp import web

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    args = parser.parse_args(argv)
    web.run_app(make_app(os.environ[KEY_VARIABLE]), host="127.0.0.1", port=args.port, access_log=None, print=None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
