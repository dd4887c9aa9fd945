"""A server on loopback with a limit, faults and a clock: what the clients of ``bench/llm.py`` are measured against.

It speaks as much of OpenAI's chat completions as the clients need, allows `AT_ONCE` calls at once, refuses the rest
with 429 and Retry-After, fails some and lets some hang until their client hangs up. Every attempt is noted;
`GET /report` returns the notes. Written on bare protocols, so that it takes little of the processor that the clients
share with it.
"""

import asyncio
import json
import random
import sys
import time

AT_ONCE = 64
LATENCY_S = 0.1
FAILING = 0.05
HANGING = 0.01
RETRY_AFTER_S = 1
ID_MARK = b"row-"
ID_DIGITS = 7


class Record:
    """What reached the server: ``[kind, row, came, went]`` an attempt, in seconds of its clock."""

    def __init__(self) -> None:
        self.random = random.Random(3)
        self.clear()

    def clear(self) -> None:
        """Forget all, as before a client starts."""
        self.busy = 0
        self.attempts: list[list[float | int | str]] = []

    def kind(self) -> str:
        """Draw what becomes of the next attempt."""
        if self.busy >= AT_ONCE:
            return "refused"
        drawn = self.random.random()
        return "failed" if drawn < FAILING else "hung" if drawn < FAILING + HANGING else "answered"


class Connection(asyncio.Protocol):
    """One connection of a client; one request at a time."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._buffer = b""
        self._attempt: list[float | int | str] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place of the call whose client hung up."""
        if self._timer is not None:
            self._timer.cancel()
        self._free()

    def data_received(self, data: bytes) -> None:
        """Take a request when it is whole."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lowered = head.lower()
        start = lowered.find(b"content-length:")
        length = int(lowered[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        if len(body) >= length:
            self._buffer = body[length:]
            self._serve(head, body[:length])

    def _serve(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /report"):
            self._reply(200, json.dumps(self._record.attempts).encode())
            self._record.clear()
            return
        if ID_MARK not in body:  # some clients ask something of their own first
            self._reply(200, _completion("yes"))
            return
        start = body.find(ID_MARK) + len(ID_MARK)
        row = int(body[start : start + ID_DIGITS])
        kind = self._record.kind()
        attempt: list[float | int | str] = [kind, row, time.monotonic(), time.monotonic()]
        self._record.attempts.append(attempt)
        if kind == "refused":
            self._reply(429, _error("too many at once"), f"Retry-After: {RETRY_AFTER_S}\r\n")
            return
        self._record.busy += 1
        self._attempt = attempt
        if kind != "hung":
            self._timer = asyncio.get_running_loop().call_later(LATENCY_S, self._finish, kind, row)

    def _finish(self, kind: str, row: int) -> None:
        self._timer = None
        self._free()
        if kind == "failed":
            self._reply(500, _error("hiccup"))
        else:
            self._reply(200, _completion(f"answer to row-{row:0{ID_DIGITS}}"))

    def _free(self) -> None:
        if self._attempt is not None:
            self._attempt[3] = time.monotonic()
            self._attempt = None
            self._record.busy -= 1

    def _reply(self, status: int, body: bytes, headers: str = "") -> None:
        if self._transport.is_closing():
            return
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "t", "param": None, "code": None}}).encode()


def _completion(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 120, "completion_tokens": 20, "total_tokens": 140}
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "choices": [choice],
        "model": "m-2026",
        "usage": usage,
    }
    return json.dumps(body).encode()


async def serve() -> None:
    """Serve until standard input ends; the first line on standard output is the port."""
    loop = asyncio.get_running_loop()
    record = Record()
    server = await loop.create_server(lambda: Connection(record), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
