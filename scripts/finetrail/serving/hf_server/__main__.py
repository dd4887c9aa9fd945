"""The server's command line and its two routes; loopback only."""

import argparse
import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from finetrail.serving.hf_server.batches import Batches
from finetrail.serving.hf_server.draw import Draw
from finetrail.serving.hf_server.hf_model import LoadedModel, Prompt
from finetrail.serving.hf_server.protocol import Refusal, completion, read_chat

if TYPE_CHECKING:
    from aiohttp import web

LOGGER = logging.getLogger(__name__)
KEY_VARIABLE = "FINETRAIL_HF_KEY"
LARGEST_REQUEST = 256 << 20


def make_app(model: LoadedModel, key: str, batch_size: int) -> "web.Application":
    """Build the server; requests must carry the key."""
    from aiohttp import web

    # A batch with and without images has no common form in most processors.
    batches: Batches[tuple[Prompt, Draw]] = Batches(model.write, batch_size, lambda job: bool(job[0].images))

    @web.middleware
    async def refuse(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            if request.headers.get("Authorization") != f"Bearer {key}":
                raise Refusal(401, "wrong API key", "invalid_api_key")
            response: web.StreamResponse = await handler(request)
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status)
        except web.HTTPException:
            raise
        except Exception as error:  # whoever asked shall read what went wrong
            LOGGER.error("a request failed: %r", error)
            failure = Refusal(500, f"{type(error).__name__}: {error}", "server_error")
            return web.json_response(failure.body, status=failure.status)
        return response

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": model.name, "object": "model"}]})

    async def completions(request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError as error:
            raise Refusal(400, f"the body is not JSON: {error}", "invalid_json") from error
        prompt = model.prepare(read_chat(body, model.name))
        await batches.do([(prompt, draw) for draw in prompt.draws])
        return web.json_response(completion(model.name, len(prompt.ids), list(map(model.written, prompt.draws))))

    app = web.Application(middlewares=[refuse], client_max_size=LARGEST_REQUEST)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", completions)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Load the model and serve it until a signal; the API key comes from the environment."""
    from aiohttp import web

    parser = argparse.ArgumentParser(description=__doc__)
    add = partial(parser.add_argument, default=None)
    add("--port", type=int, required=True, help="port on 127.0.0.1")
    add("--model", required=True, help="folder, or id on the hub")
    add("--revision", help="commit of a hub id")
    add("--name", required=True, help="model id that requests give")
    add("--adapter", help="folder of a LoRA adapter")
    add("--dtype", required=True, help="number format of the weights")
    add("--device", choices=["gpu", "cpu"], required=True, help="what it runs on")
    add("--quantization", choices=["nf4", "int8"], help="of the weights, with bitsandbytes")
    add("--chat-template", help="file; the model's own otherwise")
    add("--max-length", type=int, help="tokens of prompt and answer; the model's own otherwise")
    parser.add_argument("--batch-size", type=int, default=16, help="most answers that are written at once")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    app = make_app(LoadedModel(options), os.environ[KEY_VARIABLE], options.batch_size)
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
