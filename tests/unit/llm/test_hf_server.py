"""The transformers server with a real tiny model: the engine's requests, seeds, batches, grammar, refusals."""

import argparse
import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetrail.calls.cleaning import Cleaner
from finetrail.calls.store import CallStore
from finetrail.config.sections.schema import plain
from finetrail.config.sections.serve import Serve
from finetrail.llm.ask import endpoint_of
from finetrail.llm.engine import Engine
from finetrail.llm.request import CallFailure, ChatAnswer, ChatRequest, Message, Sampling
from finetrail.serving.hf_server.__main__ import make_app
from finetrail.serving.hf_server.draw import Draw
from finetrail.serving.hf_server.hf_model import LoadedModel, Prompt
from finetrail.serving.hf_server.protocol import Chat, Refusal, read_chat
from tests.unit.export.tiny_models import build_model

pytestmark = pytest.mark.heavy

SCHEMA = {
    "type": "object",
    "properties": {"correct": {"type": "boolean"}, "why": {"type": "string", "maxLength": 12}},
    "required": ["correct", "why"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("models") / "tiny", "llama")


def open_engine(tiny: Path, folder: Path, **settings: Any) -> Engine:
    serve = Serve(**{"device": "cpu", "dtype": "float32", "ready_s": 120.0, **settings})
    entry = {"kind": "transformers", "supports_n": True, "prices": {}, "serve": plain(serve), "timeout_s": 100.0}
    return Engine([endpoint_of("own", entry)], CallStore(folder))


@pytest.fixture(scope="module")
def engine(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(tiny, tmp_path_factory.mktemp("calls")) as opened:
        yield opened


def question(model: Path, text: str = "Who may apply?", **more: Any) -> ChatRequest:
    sampling = Sampling(more.pop("temperature", 0.0), 1.0, more.pop("max_tokens", 16), more.pop("seed", None))
    return ChatRequest(text, "judge", (Message("user", text),), "own", str(model), sampling, **more)


def answers(engine: Engine, *requests: ChatRequest) -> list[ChatAnswer]:
    found = list(engine.run(requests))
    assert all(isinstance(answer, ChatAnswer) for answer in found), found
    return [answer for answer in found if isinstance(answer, ChatAnswer)]


def test_greedy_answers_are_those_of_the_library_whatever_stands_beside_them(engine: Engine, tiny: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = ["Who?", "Where is the office on Main Street, and who may apply for the permit in 2024?", "3.14"]
    found = answers(engine, *(question(tiny, text) for text in texts))
    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModelForCausalLM.from_pretrained(tiny)
    for text, answer in zip(texts, found, strict=True):
        chat = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**ids, do_sample=False, max_new_tokens=16)[0, ids["input_ids"].shape[1] :]
        said = tokenizer.decode(out, skip_special_tokens=True)
        assert answer.text == Cleaner().text(said), "a model of random weights writes control characters, too"


def test_a_drawn_answer_depends_on_its_seed_and_not_on_its_neighbours(
    engine: Engine, tiny: Path, tmp_path: Path
) -> None:
    drawn = [question(tiny, "Same?", temperature=1.0, seed=seed) for seed in (1, 2, 3)]
    together = [answer.text for answer in answers(engine, *drawn)]
    assert len(set(together)) == 3
    with open_engine(tiny, tmp_path, batch_size=1) as alone:
        assert [answer.text for answer in answers(alone, *reversed(drawn))] == together[::-1]


def test_versions_of_one_request_differ(engine: Engine, tiny: Path) -> None:
    versions = [question(tiny, "Versions?", temperature=1.0, seed=5, sample=n) for n in range(4)]
    assert len({answer.text for answer in answers(engine, *versions)}) == 4


def test_an_answer_has_the_form_of_its_schema(engine: Engine, tiny: Path) -> None:
    asked = [
        question(tiny, f"{n}?", temperature=1.0, seed=n, max_tokens=200, schema=SCHEMA, schema_name="v")
        for n in range(4)
    ]
    for answer in answers(engine, *asked):
        assert set(answer.parsed) == {"correct", "why"}
        assert answer.text.startswith(json.dumps({"correct": answer.parsed["correct"]}, separators=(",", ":"))[:-1])


def test_log_probabilities_come_with_each_token(engine: Engine, tiny: Path) -> None:
    (answer,) = answers(engine, question(tiny, "Logprobs?", logprobs=3))
    assert answer.logprobs is not None and answer.usage is not None
    assert len(answer.logprobs) == answer.usage.completion_tokens
    for entry in answer.logprobs:
        beside = [other["logprob"] for other in entry["top_logprobs"]]
        assert entry["logprob"] == max(beside)
        assert sum(map(math.exp, beside)) <= 1 + 1e-6


def test_too_long_a_prompt_sets_its_row_aside(engine: Engine, tiny: Path) -> None:
    (failure,) = engine.run([question(tiny, "long " * 600)])
    assert isinstance(failure, CallFailure)
    assert "maximum context length is 512" in failure.error


def test_a_control_token_in_a_message_is_words(tiny: Path) -> None:
    model = load(tiny)
    end = model.tokenizer.eos_token_id
    said, quoted = (
        model.prepare(Chat([{"role": "user", "content": text}], [], 1, 1, 0.0, 1.0, 4, None, None)).ids
        for text in ("Who?", "Who wrote <|eot_id|> or <|im_end|> there?")
    )
    assert said.count(end) == quoted.count(end) == 1, "that of the template"
    assert model.tokenizer.eos_token in ("<|eot_id|>", "<|im_end|>")


def load(tiny: Path) -> LoadedModel:
    options = {"name": "m", "model": str(tiny), "revision": None, "device": "cpu", "dtype": "float32"}
    missing = dict.fromkeys(("quantization", "adapter", "chat_template", "max_length"))
    return LoadedModel(argparse.Namespace(**options, **missing))


def jobs_for(model: LoadedModel) -> list[tuple[Prompt, Draw]]:
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    body = {"model": "m", "n": 5, "seed": 3, "max_tokens": 60, "logprobs": True, "response_format": form}
    prompt = model.prepare(read_chat(body | {"messages": [{"role": "user", "content": "hi"}]}, "m"))
    return [(prompt, draw) for draw in prompt.draws]


def test_a_batch_that_the_memory_does_not_hold_is_written_in_halves(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model = load(tiny)
    held = jobs_for(model)
    model.write(held)
    forward, sizes = model.model.forward, []

    def small(*args: Any, input_ids: torch.Tensor, **more: Any) -> Any:
        sizes.append(len(input_ids))
        # The second token is where the cache has grown too large.
        if len(input_ids) > 2 and input_ids.shape[1] == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return forward(*args, input_ids=input_ids, **more)

    monkeypatch.setattr(model.model, "forward", small)
    halved = jobs_for(model)
    model.write(halved)
    assert {5, 2, 3, 1} == set(sizes)
    assert [model.written(draw).text for _, draw in halved] == [model.written(draw).text for _, draw in held]
    assert len({model.written(draw).text for _, draw in held}) == 5
    monkeypatch.setattr(model.model, "forward", lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(torch.OutOfMemoryError):
        model.write(halved[:1])


def test_whoever_asks_reads_why_the_model_failed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    model = load(tiny)
    monkeypatch.setattr(model, "write", lambda jobs: jobs[7])

    async def ask() -> tuple[int, Any]:
        async with TestClient(TestServer(make_app(model, "k", 4))) as client:
            body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
            header = {"Authorization": "Bearer k"}
            reply = await client.post("/v1/chat/completions", json=body, headers=header)
            missing = await client.get("/v1/nothing", headers=header)
            assert missing.status == 404
            return reply.status, await reply.json()

    status, reply = asyncio.run(ask())
    assert status == 500
    assert reply["error"]["message"] == "IndexError: list index out of range"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "other"}, "does not exist"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"temperature": 3}, "temperature must be"),
        ({"n": True}, "n must be"),
        ({"messages": [{"role": "tool", "content": ""}]}, "role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b"}}]}]},
            "data URL",
        ),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused(change: dict[str, Any], words: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert read_chat(body, "m").max_tokens == 512
    with pytest.raises(Refusal, match=words):
        read_chat(body | change, "m")
