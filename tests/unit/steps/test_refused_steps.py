"""What the user sees when an endpoint cannot be used: the last line of a script's stderr says what to change."""

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.unit.forks import run_forked
from tests.unit.llm.fake_llm import FakeServer, refusal
from tests.unit.steps.asking import arguments, prepare, record

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/recall/make_queries.py"
SECRET = "sk-secret-1234567"
PLACE = "make_queries failed: endpoint 'fake', model 'm', phase 'make_queries', row s0:1: "
# What the server says, and what the last line must hold.
REFUSED: dict[str, tuple[int, dict[str, Any], str, str]] = {
    "wrong key": (
        401,
        {"message": f"Incorrect API key provided: {SECRET}"},
        "refuses the API key",
        "Check the environment variable FAKE_KEY (llm.endpoints.fake.api_key_env)",
    ),
    "wrong model": (
        404,
        {"message": "The model `m` does not exist", "code": "model_not_found"},
        "does not know the model 'm'",
        "Check the key `model` of the phase that asks",
    ),
    "refused schema": (
        400,
        {"message": "Invalid schema for response_format 'search_queries'", "param": "response_format"},
        "refuses the response schema 'search_queries'",
        "Choose an `endpoint` and a `model` that support structured output",
    ),
    "context too long for the answer alone": (
        400,
        {"message": "max_tokens is too large. This model's maximum context length is 40 tokens"},
        "max_tokens is 50, which leaves no room for a prompt",
        "Lower the key `max_tokens`",
    ),
}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


def last_line(folder: Path, url: str, rows: int = 40, key: str | None = SECRET, **more: Any) -> str:
    """Run the step as a rule does, which must fail; return the last line of its stderr."""
    prepare(folder, url, map(record, range(rows)), {"api_key_env": "FAKE_KEY", "max_retries": 1}, **more)
    variables = {"FINETRAIL_RUN_CONFIG": str(folder / "run_config.yaml")} | ({"FAKE_KEY": key} if key else {})
    command = [str(SCRIPT), *arguments("make_queries", "queries", "--rows", "records.jsonl")]
    done = run_forked(command, folder, os.environ | variables)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (folder / "queries.jsonl").exists()
    written = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    assert [text for text in [done.stderr, *written] if SECRET in text] == []
    (attempt,) = (folder / "run/jobs").glob("*.json")
    line = done.stderr.splitlines()[-1]
    assert json.loads(attempt.read_text())["error"] in line
    return line.partition("ERROR ")[2]


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_the_last_line(folder: Path, server: FakeServer, case: str) -> None:
    status, error, cause, advice = REFUSED[case]

    async def refuse(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(status, **error)

    server.handler = refuse
    line = last_line(folder, server.url)
    assert line.startswith("make_queries failed: endpoint 'fake', model 'm', phase 'make_queries', row s")
    assert cause in line
    assert advice in line


def test_no_key_is_the_last_line(folder: Path, server: FakeServer) -> None:
    assert "FAKE_KEY" not in os.environ
    line = last_line(folder, server.url, key=None)
    assert line.startswith(f"{PLACE}the environment variable FAKE_KEY is not set")
    assert "export FAKE_KEY=" in line
    assert server.bodies == []


def test_prompts_that_are_too_long_are_the_last_line(folder: Path, server: FakeServer) -> None:
    async def refuse(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return refusal(400, "This model's maximum context length is 4096 tokens, however you requested 5000")

    server.handler = refuse
    line = last_line(folder, server.url)
    assert re.search(r"\d of at most 40 rows could not be processed.* the step stops early\. The first: s", line)
    assert "shorten the prompt, show fewer or shorter passages, lower max_tokens" in line


def test_one_prompt_that_is_too_long_is_the_last_line(folder: Path, server: FakeServer) -> None:
    """With no row to lose; how many may be is `llm.max_quarantined_share`."""

    async def refuse_one(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if "number 3?" in json.dumps(body):
            return refusal(400, "This model's maximum context length is 4096 tokens, however you requested 5000")
        choice = {"message": {"content": json.dumps({"queries": ["q"]})}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "model": "m"})

    server.handler = refuse_one
    line = last_line(folder, server.url)
    assert "1 of at most 40 rows could not be processed" in line
    assert "llm.max_quarantined_share" in line
    assert "s3:1" in line
    assert "shorten the prompt, show fewer or shorter passages, lower max_tokens" in line


def test_closed_connections_are_the_last_line(folder: Path, server: FakeServer) -> None:
    async def close(number: int, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server.handler = close
    line = last_line(folder, server.url)
    assert "the connection broke" in line
    assert "Check that llm.endpoints.fake.base_url is the address of an OpenAI-compatible server" in line


def test_a_port_where_nobody_listens_is_the_last_line(folder: Path) -> None:
    with socket.socket() as taken:  # bound, so that nobody else takes it, and not listening
        taken.bind(("127.0.0.1", 0))
        line = last_line(folder, f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert line.startswith("make_queries failed: endpoint 'fake', model 'm', phase 'make_queries', row s")
    assert "Check that the server runs, and llm.endpoints.fake.base_url" in line
