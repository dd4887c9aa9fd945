"""Replies made of anything: whatever comes is read, refused or set aside, and what is kept can be stored and read."""

import gzip
import json
import random
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest

from finetrail.calls.faults import Failed
from finetrail.calls.http_client import Came
from finetrail.calls.segment import UNUSABLE, StoredCall, decode, disproof, encode, is_whole
from finetrail.errors import FinetrailError
from finetrail.llm.chat_protocol import LEAST_BODY, ChatProtocol
from finetrail.llm.endpoints import Endpoint
from finetrail.llm.repair import misfit, quoted, repair_request
from finetrail.llm.request import ChatAnswer, ChatRequest
from finetrail.llm.schemas import RELEVANCE
from finetrail.llm.structured import NotAsAsked
from finetrail.web.search_protocol import SearchEndpoint, SearchProtocol
from finetrail.web.services import PRESETS
from finetrail.web.web_request import Asker
from tests.unit.llm.fake_llm import make_request

KEY = "sk-Fake/Key+1234567890=abc"
SEEDS = 2_000
# Seeds that ended the engine before: by nesting, by usage of other kinds, by halves of characters. They stay.
FAILED_SEEDS = [0, 15, 303, 498, 525, 1_222, 1_257, 1_868]
ODD: list[Any] = [
    None, True, False, 0, -1, 10**400, -(10**25), 1.5, 1e308, float("nan"), float("inf"), -float("inf"), "", " ", KEY,
    "\ud800", "\udfff\ud800", "\x00", "\x1b[2J", "\u202e", "0", "-3", "1e5", "²", "error", "length", "stop",
    "rate_limit_exceeded", "429", "insufficient_quota", [], [[]], {}, {"": {}}, {"text": 5}, [{"type": "text"}],
    {"type": "refusal", "refusal": ["no"]}, "```json\n{}\n```", "<think>{</think>", '{"reason": "x", "relevant": true}',
    "{" * 3000, '{"a":' * 3000, "[" * 5000, "9" * 5000, "x" * 20_000,
]  # fmt: skip
NAMES = [
    "choices", "message", "content", "error", "usage", "prompt_tokens", "completion_tokens", "finish_reason",
    "logprobs", "refusal", "reasoning_content", "reasoning", "completion_tokens_details", "reasoning_tokens", "model",
    "object", "system_fingerprint", "code", "status", "type", "detail", "param", "text", "prompt_tokens_details",
    "cached_tokens", "results", "web", "url",
]  # fmt: skip


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)


def good_body() -> dict[str, Any]:
    message = {"role": "assistant", "content": '{"reason": "because", "relevant": true}'}
    logprobs = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1.0}]}]}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    return {"choices": [choice], "model": "m", "system_fingerprint": "f", "usage": usage}


def search_body() -> dict[str, Any]:
    return {"results": [{"url": "https://example.org", "title": "T", "content": "S"}], "query": "q"}


def mutated(value: Any, draw: random.Random, depth: int = 0) -> Any:
    """Replace, drop, add and nest parts of a value."""
    if draw.random() < 0.12:
        return draw.choice(ODD)
    if draw.random() < 0.03:
        for _ in range(draw.choice([1, 3, 200, 3000])):
            value = [value] if draw.random() < 0.5 else {draw.choice(NAMES): value}
        return value
    if isinstance(value, dict):
        kept = {name: mutated(item, draw, depth + 1) for name, item in value.items() if draw.random() > 0.06}
        if draw.random() < 0.15:
            kept[draw.choice(NAMES)] = draw.choice(ODD)
        return kept
    if isinstance(value, list):
        return [mutated(item, draw, depth + 1) for item in value for _ in range(draw.choice([1, 1, 1, 0, 2]))]
    return value


def bytes_of(value: Any, draw: random.Random) -> bytes:
    """Render a value, and damage it now and then."""
    try:
        content = json.dumps(value, ensure_ascii=draw.random() < 0.7).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):
        content = b"[" * 4000
    if draw.random() < 0.2:
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 2, 20])):
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        content = bytes(damaged)
    if draw.random() < 0.1:
        content = content[: draw.randrange(len(content) + 1)]
    twice = content.replace(b"{", b'{"model":1,', 1)
    return draw.choice([content] * 12 + [content * 2, gzip.compress(content), b"", twice])


def came_of(draw: random.Random, body: dict[str, Any]) -> Came:
    status = draw.choice([200] * 12 + [201, 204, 400, 401, 403, 404, 413, 422, 429, 500, 503, 529])
    waits = ["5", "-1", "nan", "inf", "soon", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 99 Foo 2026"]
    headers = {draw.choice(["retry-after", "retry-after-ms"]): draw.choice(waits)} if draw.random() < 0.3 else {}
    return Came(status, headers, bytes_of(mutated(body, draw), draw))


def must_be_storable(request: Any, content: Any) -> StoredCall:
    call = StoredCall.of(request, content, None)
    line = encode(call)
    assert is_whole(line) and disproof(decode(line)) is None
    text = line.decode("utf-8")
    assert KEY not in text and "\x1b" not in text and "\x9b" not in text
    return decode(line)


def read_as_chat(protocol: ChatProtocol, request: ChatRequest, came: Came) -> None:
    """Do all that is done with a reply of a model."""
    for one, reply in protocol.read(request, came, answered=True):
        assert reply.usage is None or min(vars(reply.usage).values()) >= 0
        if reply.problem is not None and not reply.kept:
            continue
        problem = None if reply.problem is None else str(reply.problem)
        error = misfit(one, reply.content["text"])
        if problem is None and error is not None:
            assert KEY not in quoted(reply.content["text"])
            must_be_storable(repair_request(one, reply.content["text"], error), reply.content)
            problem = str(error)
        call = must_be_storable(one, reply.content if problem is None else {**reply.content, UNUSABLE: problem})
        try:
            answer = ChatAnswer.of(call, one, from_store=True)
        except NotAsAsked:
            assert problem is not None
        else:
            assert json.dumps(answer.parsed, ensure_ascii=False).encode("utf-8")


def try_seed(seed: int) -> None:
    draw = random.Random(seed)
    schema: dict[str, Any] = {"schema": RELEVANCE.schema, "schema_name": RELEVANCE.name} if draw.random() < 0.7 else {}
    logprobs = draw.choice([None, None, 3])
    siblings = tuple(make_request("q", sample=number, logprobs=logprobs, **schema) for number in (1, 2))
    request = make_request("q", logprobs=logprobs, siblings=draw.choice([(), siblings]), **schema)
    endpoint = Endpoint("fake", "openai", base_url="http://127.0.0.1:9/v1")
    service = PRESETS["searxng"]
    search = SearchProtocol(SearchEndpoint("mine", base_url="http://127.0.0.1:9", api_key_env="FAKE_KEY"), service)
    search.open()
    try:
        read_as_chat(ChatProtocol(endpoint, KEY), request, came_of(draw, good_body()))
    except (Failed, FinetrailError) as error:
        assert KEY not in str(error) and "\x1b" not in str(error)
    wanted = Asker("row", "search").search(service, "q", 3)
    try:
        ((_, found),) = search.read(wanted, came_of(draw, search_body()), answered=draw.random() < 0.5)
        if found.kept:
            must_be_storable(wanted, found.content)
    except (Failed, FinetrailError) as error:
        assert KEY not in str(error) and "\x1b" not in str(error)


def try_seeds(seeds: Iterable[int]) -> None:
    for seed in seeds:
        try:
            try_seed(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error


@pytest.mark.heavy
@pytest.mark.parametrize("first", range(0, SEEDS, 500))
def test_no_reply_ends_the_engine(first: int) -> None:
    try_seeds(range(first, first + 500))


def test_what_once_ended_the_engine_does_so_no_more() -> None:
    try_seeds(FAILED_SEEDS)


@pytest.mark.long
def test_no_reply_of_very_many_ends_the_engine() -> None:
    try_seeds(range(SEEDS, 100_000))


@pytest.mark.heavy
@pytest.mark.parametrize("piece", [b"[],", b'{"a":1},'])
def test_the_largest_body_that_is_read_takes_bounded_memory(piece: bytes) -> None:
    body = b'{"choices":[{"message":{"content":"x"}}],"more":[' + piece * (LEAST_BODY // len(piece)) + b"1]}"
    protocol = ChatProtocol(Endpoint("fake", "openai", base_url="http://127.0.0.1:9/v1"), KEY)
    tracemalloc.start()
    try:
        protocol.read(make_request("q"), Came(200, {}, body), answered=True)
        assert tracemalloc.get_traced_memory()[1] < 300_000_000
    finally:
        tracemalloc.stop()
