"""An endpoint of the OpenAI protocol that keeps its callers waiting until the test lets them go."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONGEST_WAIT_S = 120
MODEL = "slow-1"


class SlowEndpoint(ThreadingHTTPServer):
    """Answers the schema `relevance`; `arrived` is set by the first request, `release` lets all answers go.

    Prompts that hold `refused` are answered in another form; `asked` counts the others.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.arrived = threading.Event()
        self.release = threading.Event()
        self.refused: str | None = None
        self.asked = 0
        self.waiting: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._changed = threading.Condition()

    def enter(self, body: dict[str, Any]) -> None:
        """Take in a request and keep it waiting."""
        with self._changed:
            self.waiting.append(body)
            self.most_at_once = max(self.most_at_once, len(self.waiting))
            self._changed.notify_all()
        self.arrived.set()
        self.release.wait(LONGEST_WAIT_S)

    def leave(self, body: dict[str, Any]) -> None:
        """Let a request go."""
        with self._changed:
            self.waiting.remove(body)

    def wait_for(self, requests: int, seconds: float = LONGEST_WAIT_S) -> bool:
        """Wait until so many requests wait at once; say whether they do."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.waiting) >= requests, seconds)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def config(self) -> tuple[str, str]:
        """Return what makes `label_relevance` ask here."""
        reference = f"{{endpoint: slow, model: {MODEL}}}"
        return (
            f"llm={{endpoints: {{slow: {{kind: openai, base_url: '{self.base_url}'}}}}}}",
            f"overrides={{crag_mm: {{label: {{model: {reference}}}}}}}",
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SlowEndpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refused = self.server.refused is not None and self.server.refused in json.dumps(request["messages"])
        self.server.asked += not refused
        self.server.enter(request)
        content = "no JSON" if refused else json.dumps({"reason": "by the test", "relevant": True})
        message = {"role": "assistant", "content": content}
        reply = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        body = json.dumps(reply).encode()
        self.server.leave(request)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def slow_endpoint() -> Iterator[SlowEndpoint]:
    """Serve in a thread; whoever still waits at the end is let go."""
    with SlowEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()
