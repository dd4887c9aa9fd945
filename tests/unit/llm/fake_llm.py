"""A server on loopback that speaks the OpenAI protocol and behaves as badly as a test wants."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from finetrail.calls.budget import Budget
from finetrail.calls.store import CallStore
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.engine import Engine
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message, Sampling
from tests.unit.loopback import LoopbackServer

# The keys of the section `llm` of a run's configuration, but for its endpoints.
LLM_KEYS: dict[str, Any] = {
    "mode": "live",
    "max_quarantined_share": 0.0,
    "budget_usd": None,
    "budget_calls": None,
    "max_wait_s": 600.0,
    "ask_again": False,
}
Handler = Callable[[int, dict[str, Any], web.Request], Awaitable[web.StreamResponse]]


def completion(text: str, **more: Any) -> web.Response:
    """A good reply."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    body = {"choices": [choice | more], "model": "m-2026", "system_fingerprint": "fp1", "usage": usage}
    return web.json_response(body)


def refusal(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    """An error as OpenAI words it."""
    body = {"error": {"message": message, "type": "t", "param": None, "code": None} | more}
    return web.json_response(body, status=status, headers=headers)


def asked(body: dict[str, Any]) -> str:
    """The text of the last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


async def echo(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    """Say what was asked."""
    return completion(f"answer to {asked(body)}")


class FakeServer(LoopbackServer):
    """Runs in a thread; `bodies` holds every request that reached it."""

    def __init__(self) -> None:
        self.handler: Handler = echo
        self.bodies: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._at_once = 0
        super().__init__("POST", "/v1/chat/completions", self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def texts(self) -> list[str]:
        return [asked(body) for body in self.bodies]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self.handler(len(self.bodies), body, request)
        finally:
            self._at_once -= 1


class Harness:
    """Runs requests through an engine on one store."""

    def __init__(self, server: FakeServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.totals: dict[str, Any] = {}

    def endpoint(self, **settings: Any) -> Endpoint:
        return Endpoint(**({"name": "fake", "kind": "openai", "base_url": self.server.url} | settings))

    def run(
        self,
        requests: list[ChatRequest],
        *,
        mode: Any = "live",
        budget: Budget | None = None,
        ask_again: bool = False,
        **settings: Any,
    ) -> list[ChatAnswer | CallFailure]:
        endpoint = self.endpoint(**settings)
        with (
            CallStore(self.folder) as store,
            Engine([endpoint], store, mode=mode, budget=budget, ask_again=ask_again) as engine,
        ):
            try:
                return list(engine.run(requests))
            finally:
                self.totals = engine.totals


def make_request(text: str, **more: Any) -> ChatRequest:
    """A request whose row has the text's name."""
    settings: dict[str, Any] = {
        "row_id": f"row-{text}",
        "phase": "label",
        "messages": (Message("system", "be brief"), Message("user", text)),
        "endpoint": "fake",
        "model": "m",
        "sampling": Sampling(temperature=0.0, max_tokens=50, seed=7),
    }
    return ChatRequest(**(settings | more))
