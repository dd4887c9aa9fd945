"""A server that misbehaves in many ways, with our key in every field: rows kept, calls paid, what is said, no key."""

import asyncio
import base64
import contextlib
import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from finetrail.calls.inspect_store import read_calls
from tests.unit.llm.fake_llm import FakeServer, asked
from tests.unit.llm.test_budget import Job

KEY = "sk-Fake/Key+1234567890=abc"
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in KEY)
BEARER = base64.b64encode(f"Bearer {KEY}".encode()).decode()
FORMS = [KEY, quote(KEY, safe=""), quote(KEY), KEY.encode().hex(), ESCAPED, BEARER]
ECHO = f"{' '.join(FORMS)} \x1b[31m\x9b2J"
GOOD = json.dumps({"reason": "because", "correct": True})
ROWS = 6
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
Say = Callable[["Case", int, dict[str, Any], web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Case:
    """One way to misbehave.

    Args:
        say: what each call is answered with: a body, a text of the model, or a function of the request.
        kept: rows that get an answer.
        most: HTTP requests that this may take.
        said: words that stand in the log, on the terminal, or beside a row that was set aside.
        stored: rows whose replies are stored, of use or not, and not paid for again.
    """

    say: Any
    kept: int
    most: int
    said: str = ""
    stored: int = ROWS


def body_of(message: Any, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": "stop", **more.pop("choice", {})}
    return {"choices": [choice], "model": f"m {ECHO}", "system_fingerprint": ECHO, "usage": USAGE, "id": ECHO} | more


def text(content: Any, **more: Any) -> dict[str, Any]:
    return body_of({"role": "assistant", "content": content}, **more)


def status(code: int, message: str, **headers: str) -> Say:
    async def say(case: Case, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": f"{message} {ECHO}"}}, status=code, headers=headers)

    return say


def raw(content: bytes, **headers: str) -> Say:
    async def say(case: Case, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, headers={"Content-Type": "application/json", **headers})

    return say


async def endless(case: Case, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b" " * (1 << 20))
    return response


async def drips(case: Case, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)
    return response


async def breaks_off(case: Case, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.close()
    return response


async def limited_within_200(case: Case, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    if number == 1:
        return web.json_response(
            {"error": {"message": "Rate limit exceeded", "code": 429}}, headers={"Retry-After": "0"}
        )
    return web.json_response(text(GOOD))


async def one_row_is_refused(case: Case, number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    if asked(body).startswith("row-3"):
        return web.json_response({"error": {"message": f"I will not {ECHO}"}}, status=400)
    return web.json_response(text(GOOD))


NOT_JSON = "it begins: 'Sure! <key>"
CASES: dict[str, Case] = {
    "a fence": Case(text(f"```json\n{GOOD}\n```"), ROWS, ROWS),
    "prose": Case(text(f"Here {{it}} is: {GOOD} I hope that helps."), ROWS, ROWS),
    "reasoning first": Case(text(f'<think>perhaps {{"correct": false}} {ECHO}</think>\n{GOOD}'), ROWS, ROWS),
    "parts": Case(text([{"type": "reasoning", "text": "{"}, {"type": "text", "text": GOOD[:9]}, GOOD[9:]]), ROWS, ROWS),
    "an object as content": Case(text({"type": "output_text", "text": GOOD}), ROWS, ROWS),
    "a number as content": Case(text(17), 0, ROWS, "the model gave no text (finish_reason stop)"),
    "no content": Case(body_of({"role": "assistant"}), 0, ROWS, "the model gave no text"),
    "a refusal": Case(body_of({"content": None, "refusal": f"No. {ECHO}"}), 0, ROWS, "gave no text (No. <key>"),
    "a refusal as a part": Case(text([{"type": "refusal", "refusal": "Never."}]), 0, ROWS, "gave no text (Never.)"),
    "length, by reasoning": Case(
        body_of({"content": "", "reasoning_content": f"hm {ECHO}"}, choice={"finish_reason": "length"}),
        0, ROWS, "max_tokens went into its reasoning",
    ),
    "length, within the answer": Case(
        text('{"reason": "bec', choice={"finish_reason": "length"}), 0, ROWS, "it begins: '{\"reason\": \"bec'"
    ),
    "prose only": Case(text(f"Sure! {ECHO}"), 0, 2 * ROWS, NOT_JSON),
    "two objects": Case(text(f"{GOOD} or {GOOD}"), 0, 2 * ROWS, "not valid JSON"),
    "a name twice": Case(text(GOOD[:-1] + ', "correct": false}'), 0, 2 * ROWS, "a key occurs twice"),
    "NaN": Case(text('{"reason": NaN, "correct": true}'), 0, 2 * ROWS, "NaN is not JSON"),
    "deep nesting within the answer": Case(text('{"a":' * 50_000), 0, 2 * ROWS, "not valid JSON"),
    "half a character in the answer": Case(text("\ud800"), 0, 2 * ROWS, "not valid JSON"),
    "half a character in a name": Case(text(GOOD, model="\udc00", system_fingerprint="a\ud800"), ROWS, ROWS),
    "controls in the answer": Case(text(GOOD.replace("because", "\\u001b[2Jbecause")), ROWS, ROWS),
    "names that are none": Case(text(GOOD, model={"a": ECHO}, system_fingerprint=[1], object=None), ROWS, ROWS),
    "a reason that is a list": Case(text(GOOD, choice={"finish_reason": [ECHO], "logprobs": 5}), ROWS, ROWS),
    "usage as texts": Case(text(GOOD, usage={"prompt_tokens": "10", "completion_tokens": "5"}), ROWS, ROWS),
    "usage below 0": Case(text(GOOD, usage={"prompt_tokens": -9_000_000, "completion_tokens": 5}), ROWS, ROWS),
    "usage beyond reason": Case(text(GOOD, usage={"prompt_tokens": 10**12, "completion_tokens": 10**12}), ROWS, ROWS),
    "usage of any kind": Case(text(GOOD, usage=[ECHO]), ROWS, ROWS),
    "details of any kind": Case(text(GOOD, usage=USAGE | {"prompt_tokens_details": [1]}), ROWS, ROWS),
    "no usage": Case(text(GOOD, usage=None), ROWS, ROWS),
    "a list around it": Case([text(GOOD)], ROWS, ROWS),
    "no choices": Case({"choices": []}, 0, 2 * ROWS, "no chat completion", 0),
    "choices of any kind": Case({"choices": [[1]], "id": ECHO}, 0, 2 * ROWS, "no chat completion", 0),
    "a message of any kind": Case(body_of([ECHO]), 0, 2 * ROWS, "no chat completion", 0),
    "a page of HTML": Case(raw(f"<html>{ECHO}</html>".encode()), 0, 2 * ROWS, "<html><key>", 0),
    "no body": Case(raw(b""), 0, 2 * ROWS, "an empty body", 0),
    "no text": Case(raw(b"\xff\xfe\x00"), 0, 2 * ROWS, "no chat completion", 0),
    "deep nesting": Case(raw(b"[" * 200_000), 0, 2 * ROWS, "no chat completion", 0),
    "an endless body": Case(endless, 0, ROWS, "is larger than", 0),
    "a bomb": Case(raw(gzip.compress(bytes(64 << 20)), **{"Content-Encoding": "gzip"}), 0, ROWS, "is larger than", 0),
    "drips": Case(drips, 0, 2 * ROWS, "no answer within 0.5 s", 0),
    "breaks off": Case(breaks_off, 0, 2 * ROWS, "the connection broke", 0),
    "a rate limit within 200": Case(limited_within_200, ROWS, ROWS + 1),
    "a wrong key within 200": Case(
        {"error": {"type": "authentication_error", "message": ECHO}}, 0, ROWS, "refuses the API key", 0
    ),
    "an error within 200": Case({"error": f"upstream {ECHO}"}, 0, 2 * ROWS, "the reply is an error: upstream <key>", 0),
    "an error of a choice": Case(
        text("", choice={"error": {"code": 502, "message": "away"}}), 0, 2 * ROWS, "HTTP 502: away", 0
    ),
    "a day's wait": Case(
        status(429, "tomorrow", **{"Retry-After": "86400"}), 0, 3 * ROWS, "it says: HTTP 429: tomorrow <key>", 0
    ),
    "a day's wait of another status": Case(
        status(500, "tomorrow", **{"Retry-After": "86400"}), 0, 2 * ROWS, "it says: HTTP 500: tomorrow <key>", 0
    ),
    "a redirect": Case(
        status(307, "there", Location=f"http://127.0.0.1:9/{KEY}"), 0, ROWS, "us on to http://127.0.0.1:9/<key>", 0
    ),
    "a wrong key": Case(status(401, "wrong"), 0, ROWS, "refuses the API key (HTTP 401: wrong <key>", 0),
    "a broken server": Case(status(500, "ouch"), 0, 2 * ROWS, "HTTP 500: ouch <key>", 0),
    "one row is refused": Case(one_row_is_refused, ROWS - 1, ROWS, "HTTP 400: I will not <key>", ROWS - 1),
}  # fmt: skip


@pytest.fixture
def job(server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Job:
    job = Job(server, tmp_path, monkeypatch)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"id": "row-{number}"}}\n' for number in range(ROWS)))
    monkeypatch.setenv("FAKE_KEY", KEY)
    return job


def configure(job: Job, run: str, **llm: Any) -> None:
    endpoint = {"api_key_env": "FAKE_KEY", "timeout_s": 0.5}
    prices = {"m": {"input": 2.0, "output": 8.0}}
    job.configure(run, prices, endpoint, **{"max_quarantined_share": 1.0, "max_wait_s": 0.2, **llm})


def left_behind(folder: Path) -> str:
    """Return all that stands in files, as text."""
    return "\n".join(
        path.read_bytes().decode("utf-8", "replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".idx", ".yaml")
    )


@pytest.mark.heavy
@pytest.mark.parametrize("name", CASES)
def test_whatever_a_server_says_costs_no_row_no_call_and_no_key(
    job: Job, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    case = CASES[name]

    async def handler(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if callable(case.say):
            response: web.StreamResponse = await case.say(case, number, body, request)
            return response
        return web.json_response(case.say)

    job.server.handler = handler
    configure(job, "first")
    assert job.start() == (0 if case.kept else 1)
    everything = "".join(capfd.readouterr()) + left_behind(tmp_path)
    assert case.said in everything.replace('\\"', '"')
    assert "Traceback" not in everything
    assert len(job.server.bodies) <= case.most
    kept = (tmp_path / "out" / "out.jsonl").read_text().splitlines() if case.kept else []
    assert len(kept) == case.kept
    for form in (*FORMS, BEARER[16:-6]):
        assert form not in everything, "the key stands somewhere"
    assert "\x1b" not in everything and "\x9b" not in everything, "a terminal would be steered"

    stored = {call.paid["row"] for call in read_calls(tmp_path / "results" / "calls")}
    assert len(stored) == case.stored
    paid = len(job.server.bodies)
    configure(job, "second")
    job.start()
    assert stored.isdisjoint(text.rstrip("?") for text in job.server.texts()[paid:]), "what is stored is not paid again"
    capfd.readouterr()
